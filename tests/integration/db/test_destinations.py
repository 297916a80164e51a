"""Destinations as a whole: what lists say of them, and what pausing one does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.destinations import (
    DestinationRow,
    find_destination,
    list_destinations,
    names_with_work,
    pause,
    resume,
)
from intu_fhir.db.gates import hold_back
from intu_fhir.db.overview import overview
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, deliveries
from intu_fhir.model.work import DELIVER, Claim
from tests.support.clock import START, FakeClock
from tests.support.seeded import stage


def _stage(database: Database, *states: str, destination: str = "pacs") -> None:
    with database.write() as connection:
        for number, state in enumerate(states):
            stage(connection, f"{destination}{number}", deliveries={destination: state})


def _claim(database: Database, clock: FakeClock, destination: str = "pacs") -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection, DELIVER, destination, holder="w", now=clock.now(), lease_seconds=60
        )


def _pause(database: Database, clock: FakeClock, by: str = "jo", reason: str = "") -> bool:
    with database.write() as connection:
        return pause(connection, "pacs", by=by, reason=reason, now=clock.now())


def _rows(database: Database, clock: FakeClock, *names: str) -> Mapping[str, DestinationRow]:
    with database.read() as connection:
        return {row.name: row for row in list_destinations(connection, names, clock.now())}


def test_one_that_takes_nothing_is_failing(database: Database, clock: FakeClock) -> None:
    """What failed for good since the last delivery is counted; one delivery ends that."""
    _stage(database, "dead", "dead", "delivered")
    _stage(database, "dead", "waiting", destination="ehr")
    d = deliveries.c
    late = sa.update(deliveries).where(d.state == "dead")
    with database.write() as connection:
        connection.execute(late.values(last_failed_at=START + timedelta(days=1)))
    rows = _rows(database, clock, "pacs", "ehr")
    assert [(row.state, row.shown, row.failing) for row in rows.values()] == [
        ("up", "failing", 2),
        ("up", "failing", 1),
    ]
    newer = sa.update(deliveries).where(d.state == "delivered")
    with database.write() as connection:
        connection.execute(newer.values(delivered_at=START + timedelta(days=2)))
    assert _rows(database, clock, "pacs")["pacs"].shown == "up"
    _pause(database, clock)
    assert _rows(database, clock, "pacs")["pacs"].shown == "paused"


def test_deliveries_are_counted_by_destination(database: Database, clock: FakeClock) -> None:
    """Each destination shows what waits, fails and was delivered, and since when it is due."""
    _stage(database, "waiting", "waiting", "retrying", "dead", "held", "delivered")
    _stage(database, "dead", destination="ehr")
    rows = _rows(database, clock, "ehr", "pacs", "new")
    assert list(rows) == ["ehr", "pacs", "new"]
    pacs = rows["pacs"]
    assert (pacs.state, pacs.waiting, pacs.retrying, pacs.dead, pacs.held) == ("up", 2, 1, 1, 1)
    assert (pacs.backlog, pacs.delivered_last_hour) == (3, 1)
    assert pacs.oldest_due == START + timedelta(seconds=30)
    assert (rows["ehr"].dead, rows["ehr"].oldest_due) == (1, None)
    assert (rows["new"].state, rows["new"].backlog) == ("up", 0)
    clock.advance(3_601)
    assert _rows(database, clock, "pacs")["pacs"].delivered_last_hour == 0


def test_the_oldest_is_found_in_either_part_of_the_queue(
    database: Database, clock: FakeClock
) -> None:
    """A delivery that failed counts for the oldest as one that is fresh does."""
    _stage(database, "waiting", "waiting")
    long_ago = START - timedelta(hours=8)
    with database.write() as connection:
        first = sa.select(sa.func.min(deliveries.c.delivery_key)).scalar_subquery()
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_key == first)
            .values(backlog=True, due_at=long_ago)
        )
    assert _rows(database, clock, "pacs")["pacs"].oldest_due == long_ago


def test_nothing_goes_to_a_paused_destination(database: Database, clock: FakeClock) -> None:
    """A paused destination is left alone until it is resumed, and no other one with it."""
    _stage(database, "waiting")
    _stage(database, "waiting", destination="ehr")
    clock.advance(60)
    assert _pause(database, clock, reason="upgrade")
    row = _rows(database, clock, "pacs")["pacs"]
    assert (row.state, row.paused_by, row.pause_reason) == ("paused", "jo", "upgrade")
    assert row.paused_at == clock.now()
    assert _claim(database, clock) is None
    assert _claim(database, clock, "ehr") is not None
    with database.read() as connection:
        assert work.next_due_at(connection, DELIVER, "pacs", clock.now()) is None
    with database.write() as connection:
        assert resume(connection, "pacs", by="ann", now=clock.now())
    claimed = _claim(database, clock)
    assert claimed is not None
    assert claimed.attempts == 0


def test_pausing_twice_keeps_the_first_name(database: Database, clock: FakeClock) -> None:
    """Who pauses what is paused already is told so, and changes nothing."""
    assert _pause(database, clock, by="jo")
    clock.advance(5)
    assert not _pause(database, clock, by="ann")
    with database.write() as connection:
        assert find_destination(connection, "pacs", clock.now()).paused_by == "jo"
        assert resume(connection, "pacs", by="ann", now=clock.now())
        assert not resume(connection, "pacs", by="ann", now=clock.now())
    assert _pause(database, clock, by="ann")


def test_destinations_that_left_the_configuration_are_known(
    database: Database, clock: FakeClock
) -> None:
    """A name counts as known while work waits for it, or while it is paused."""
    _stage(database, "delivered", destination="old")
    _stage(database, "dead", destination="ehr")
    _pause(database, clock)
    with database.read() as connection:
        assert names_with_work(connection) == ["ehr", "pacs"]


def test_who_pauses_and_resumes_is_audited_once(database: Database, clock: FakeClock) -> None:
    """Each change leaves one audit row with name and reason; what changes nothing leaves none."""
    for _ in range(2):
        _pause(database, clock, by="jo", reason="upgrade")
    for _ in range(2):
        with database.write() as connection:
            resume(connection, "pacs", by="ann", now=clock.now())
    a = audit_events.c
    with database.read() as connection:
        found = sa.select(a.action, a.actor, a.destination, a.reason).order_by(a.audit_event_key)
        assert [tuple(row) for row in connection.execute(found)] == [
            ("paused", "jo", "pacs", "upgrade"),
            ("resumed", "ann", "pacs", ""),
        ]


def test_who_asks_to_be_left_alone_is_seen_and_can_be_tried(
    database: Database, clock: FakeClock
) -> None:
    """A pause that the destination itself wants is no dead worker, and a person may end it."""
    _stage(database, "waiting")
    clock.advance(60)
    until = clock.now() + timedelta(hours=1)
    with database.write() as connection:
        hold_back(connection, "pacs", until, clock.now())
        assert [one.state for one in overview(connection, clock.now()).kept_back] == ["later"]
        assert overview(connection, clock.now()).overdue == []
    row = _rows(database, clock, "pacs")["pacs"]
    assert (row.state, row.free_at) == ("later", until)
    assert _claim(database, clock) is None
    with database.write() as connection:
        assert resume(connection, "pacs", by="ann", now=clock.now())
    assert _rows(database, clock, "pacs")["pacs"].state == "up"
    assert _claim(database, clock) is not None


def test_a_rate_limit_is_no_wish_to_be_left_alone(database: Database, clock: FakeClock) -> None:
    """What comes within moments by a rate limit leaves a destination up."""
    _stage(database, "waiting")
    with database.write() as connection:
        hold_back(connection, "pacs", clock.now() + timedelta(seconds=30), clock.now())
        assert overview(connection, clock.now()).kept_back == []
    assert _rows(database, clock, "pacs")["pacs"].state == "up"
