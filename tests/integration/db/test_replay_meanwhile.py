"""A study goes on while somebody has it put back or built again, on another connection."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.replay import ReplayFilter, build_again
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, deliveries, studies, work
from intu_fhir.db.work import want_step
from intu_fhir.model.audit import Action
from intu_fhir.model.work import BUILD, WAITING, DeliveryWish
from intu_fhir.pipeline import replay as replaying
from intu_fhir.pipeline.replay import Replayed, ReplaySelection, replay
from tests.support.clock import FakeClock
from tests.support.rows import row_waiters, rows_of
from tests.support.seeded import stage
from tests.support.waiting import wait_until


def test_what_settles_meanwhile_is_built(database: Database, clock: FakeClock) -> None:
    """A study that settles anew while it is asked to be built again is built as it is by then."""
    now = clock.now()
    with database.write() as connection:
        key = stage(connection, "one")

    def rebuild() -> None:
        with database.write() as connection:
            build_again(connection, [key], now=now)

    rebuilding = threading.Thread(target=rebuild)
    with database.write() as settling:
        settling.execute(sa.update(studies).values(generation=2))
        want_step(settling, BUILD, key, 2, due_at=now, now=now)
        rebuilding.start()
        if not database.is_sqlite:  # which has one writer at a time
            wait_until(lambda: row_waiters(database) > 0)
    rebuilding.join(60)
    [build] = [row for row in rows_of(database, work) if row.step == BUILD]
    assert (build.want, build.have) == (2, 1)


@pytest.mark.parametrize("ehr", ["retrying", "delivered"])
def test_a_replay_takes_the_deliveries_of_a_study_in_the_order_of_a_build(
    database: Database, clock: FakeClock, ehr: str
) -> None:
    """A replay waits for a study that was just built without holding a delivery of it."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    now, wish = clock.now(), DeliveryWish(WAITING, again=True)
    with database.write() as connection:
        key = stage(connection, "one", deliveries={"ehr": ehr, "pacs": "dead"})
    done: list[Replayed] = []
    wanted = ReplaySelection(ReplayFilter(), force=True)
    put_back = threading.Thread(target=lambda: done.append(replay(database, clock, wanted)))
    with database.write() as built:
        want_delivery(built, key, "ehr", 2, wish=wish, now=now)
        put_back.start()
        wait_until(lambda: row_waiters(database) > 0)
        built.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        want_delivery(built, key, "pacs", 2, wish=wish, now=now)
    put_back.join(60)
    assert len(done) == 1
    assert [row.want for row in rows_of(database, deliveries)] == [2, 2]


def test_a_large_rebuild_keeps_no_study_for_long(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Studies that are to be built again are let go a handful at a time, each with its event."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(replaying, "STUDIES_AT_A_TIME", 1)
    now = clock.now()
    with database.write() as connection:
        first, second = stage(connection, "one"), stage(connection, "two")
    wanted = ReplaySelection(ReplayFilter(), rebuild=True, by="jo")
    done: list[Replayed] = []
    rebuild = threading.Thread(target=lambda: done.append(replay(database, clock, wanted)))
    with database.write() as settling:
        want_step(settling, BUILD, second, 2, due_at=now, now=now)
        rebuild.start()
        wait_until(lambda: row_waiters(database) > 0)
        settling.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        want_step(settling, BUILD, first, 2, due_at=now, now=now)
    rebuild.join(60)
    assert [one.studies for one in done] == [2]
    told = [row for row in rows_of(database, audit_events) if row.action == Action.REBUILT]
    assert [row.objects for row in told] == [1, 1]
