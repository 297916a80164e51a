"""Who takes rows of several studies on PostgreSQL in which order; what if two wait in a circle."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.associations import look_at_studies_now
from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.instances import StagedAs
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, work
from intu_fhir.errors import Deadlocked
from tests.support.clock import FakeClock
from tests.support.rows import row_waiters, rows_of
from tests.support.staging import header, new_instance, store
from tests.support.waiting import wait_until

FIRST, SECOND = 1, 2


@pytest.fixture
def postgresql(database: Database, clock: FakeClock) -> Database:
    """A database with two studies; PostgreSQL comes to the second first, by disk or by index."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    for study, quiet_seconds in (("1.2.3", 30.0), ("1.2.4", 10.0)):
        one = header(study)
        store(database, new_instance(clock.now(), one, quiet_seconds=quiet_seconds))
    with database.write() as connection:
        _take(connection, FIRST)  # an update puts a row behind the others
    return database


def _take(connection: Connection, study_key: int) -> None:
    """Change the work of a study, as a receiver does."""
    of_study = work.c.study_key == study_key
    connection.execute(sa.update(work).where(of_study).values(updated_at=work.c.updated_at))


def _waits(database: Database, thread: threading.Thread) -> None:
    wait_until(lambda: row_waiters(database) or not thread.is_alive())


def test_an_end_takes_studies_in_the_order_of_receivers(
    postgresql: Database, clock: FakeClock
) -> None:
    """The end of an association waits for a receiver's study without holding another one."""

    def end() -> None:
        with postgresql.write() as connection:
            look_at_studies_now(connection, ["a1"], clock.now())

    ending = threading.Thread(target=end)
    with postgresql.write() as receiver:
        _take(receiver, FIRST)
        ending.start()
        _waits(postgresql, ending)
        receiver.exec_driver_sql("SET LOCAL lock_timeout = '50ms'")
        _take(receiver, SECOND)
    ending.join(60)
    assert {row.due_at for row in rows_of(postgresql, work)} == {clock.now()}


def test_a_receiver_that_was_undone_tries_again(postgresql: Database, clock: FakeClock) -> None:
    """A receiver that the database undoes, to end a circle, stores its instances all the same."""
    new = [new_instance(clock.now(), header(study)) for study in ("1.2.3", "1.2.4")]
    writer, told = InstanceWriter(postgresql, "here"), list[StagedAs]()
    storing = threading.Thread(target=lambda: told.extend(writer(new)))
    with postgresql.write() as other:
        other.exec_driver_sql("SET LOCAL deadlock_timeout = '30s'")  # let it not be this one
        _take(other, SECOND)
        storing.start()
        _waits(postgresql, storing)
        _take(other, FIRST)
    storing.join(60)
    assert [one.new for one in told] == [True, True]
    assert len(rows_of(postgresql, instances)) == 4


def test_a_circle_has_its_own_name(postgresql: Database) -> None:
    """Who is undone is told that another try may succeed."""
    undone: list[Deadlocked] = []

    def wait_in_a_circle() -> None:
        try:
            with postgresql.write() as connection:
                _take(connection, FIRST)
                _take(connection, SECOND)
        except Deadlocked as error:
            undone.append(error)

    waiting = threading.Thread(target=wait_in_a_circle)
    with postgresql.write() as other:
        other.exec_driver_sql("SET LOCAL deadlock_timeout = '30s'")
        _take(other, SECOND)
        waiting.start()
        _waits(postgresql, waiting)
        _take(other, FIRST)
    waiting.join(60)
    assert "DeadlockDetected" in str(undone[0])
