"""Destinations that are taken out of service, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from intu_fhir.db import retired
from intu_fhir.db.destinations import is_paused, names_with_work, pause
from intu_fhir.db.holds import hold_study
from intu_fhir.db.replay import build_again
from intu_fhir.db.retired import Retirer, count_open, retire
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, deliveries, holds
from intu_fhir.model.outcome import Dead, Delivered
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.work import (
    BUILD,
    DELIVER,
    DELIVERED,
    FILTERED,
    WAITING,
    DeliveryWish,
    Finished,
)
from intu_fhir.pipeline.runner import Lane
from tests.support.clock import FakeClock
from tests.support.pipeline import PACS, Pipeline, due_at_pacs
from tests.support.rows import rows_of
from tests.support.seeded import stage

JO = Retirer("jo", "replaced")
OPEN = ("waiting", "running", "retrying", "dead", "held")


def _retire(database: Database, clock: FakeClock, destination: str = "old") -> int:
    with database.write() as connection:
        return retire(connection, destination, JO, clock.now())


def test_what_is_open_there_is_left_out(database: Database, clock: FakeClock) -> None:
    """Whatever keeps a study from it, it is filtered and says why; others keep their state."""
    with database.write() as connection:
        for state in (*OPEN, "delivered", "filtered"):
            stage(connection, state, deliveries={"old": state, "new": state})
        held = stage(connection, "held again", deliveries={"old": "held"})
        reason = [StudyHold("invalid_resource", "it has errors")]
        for name in ("old", "new"):
            hold_study(connection, held, reason, generation=1, now=clock.now(), destination=name)
        pause(connection, "old", by="jo", reason="", now=clock.now())
    assert _retire(database, clock) == len(OPEN) + 1
    by = {name: [one for one in rows_of(database, deliveries) if one.destination == name]
          for name in ("old", "new")}  # fmt: skip
    assert [one.state for one in by["old"]] == [*[FILTERED] * 5, DELIVERED, *[FILTERED] * 2]
    assert {one.due_at for one in by["old"]} == {None}
    left_out = [one.reason for one in by["old"] if one.reason]
    assert left_out == ["taken out of service by jo: replaced"] * 6
    assert [one.state for one in by["new"]] == [*OPEN, "delivered", "filtered"]
    still_held = [one.destination for one in rows_of(database, holds) if one.released_at is None]
    assert still_held == ["new"]
    [event] = [one for one in rows_of(database, audit_events) if one.action == "retired"]
    assert (event.actor, event.destination, event.objects, event.reason) == (
        "jo",
        "old",
        6,
        "replaced",
    )
    with database.read() as connection:
        assert names_with_work(connection) == ["new"]
        assert count_open(connection, "old") == 0


def test_many_are_left_out_some_at_a_time(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction takes so many; what is known of the destination goes with the last ones."""
    monkeypatch.setattr(retired, "AT_ONCE", 2)
    with database.write() as connection:
        for number in range(3):
            stage(connection, f"n{number}", deliveries={"old": "dead"})
        pause(connection, "old", by="jo", reason="", now=clock.now())
    assert _retire(database, clock) == 2
    with database.read() as connection:
        assert (count_open(connection, "old"), is_paused(connection, "old")) == (1, True)
    assert _retire(database, clock) == 1
    with database.read() as connection:
        assert names_with_work(connection) == []


@pytest.fixture
def pipeline(database: Database, clock: FakeClock) -> Pipeline:
    """A pipeline with one study that is due at its PACS."""
    return due_at_pacs(database, clock)


@pytest.mark.parametrize("outcome", [Delivered("0000"), Dead("422", "no")], ids=["ok", "failed"])
def test_what_is_in_hand_then_stays_left_out(pipeline: Pipeline, outcome: Delivered | Dead) -> None:
    """However a try ends that had begun before, the study is open there no more."""

    def deliver(claim: object) -> Delivered | Dead:
        assert _retire(pipeline.database, pipeline.clock, "pacs") == 1
        return outcome

    pipeline.does[DELIVER] = deliver
    assert pipeline.runner().run_one(PACS)
    pipeline.clock.advance(100_000)
    assert not pipeline.runner().run_one(PACS)
    row = pipeline.row(deliveries)
    assert (row.state, row.lease_holder) == (FILTERED, "")
    assert row.reason.startswith("taken out of service")


def test_one_that_comes_back_gets_them_by_a_rebuild(pipeline: Pipeline) -> None:
    """What was left out is judged anew when it is built again for the same name."""
    _retire(pipeline.database, pipeline.clock, "pacs")
    with pipeline.database.write() as connection:
        build_again(connection, [1], now=pipeline.clock.now())
    wishes = {"pacs": DeliveryWish(WAITING)}
    pipeline.does[BUILD] = lambda claim: Finished(lambda _: None, claim.want, wishes)
    assert pipeline.runner().run_one(Lane(BUILD))
    pipeline.does[DELIVER] = lambda claim: Delivered("0000")
    assert pipeline.runner().run_one(PACS)
    with pipeline.database.read() as connection:
        assert connection.execute(sa.select(deliveries.c.state)).scalar_one() == DELIVERED
