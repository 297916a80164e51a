"""Which files a row speaks of, and since when that is certain."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.db import kept_files
from intu_fhir.db.instances import store_instances
from intu_fhir.db.kept_files import close_the_past, files_with_row, newest_files
from intu_fhir.db.session import BUSY_SECONDS, Database
from intu_fhir.errors import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, origin, store
from tests.support.waiting import wait_until


def test_files_are_found_by_object_or_one_by_one(database: Database, clock: FakeClock) -> None:
    """A file is found by its object's UID, and without one by its name; others are not."""
    items = [new_instance(clock.now(), header(instance=f"1.2.{n}")) for n in range(1, 4)]
    store(database, *items)
    files = [item.file for item in items]
    asked = {files[0]: "1.2.1", files[1]: "", "instances/none": "", "instances/other": "1.2.3"}
    with database.read() as connection:
        assert files_with_row(connection, asked) == {files[0], files[1]}
        assert newest_files(connection, 2) <= set(files)
        assert len(newest_files(connection, 2)) == 2


def test_a_commit_in_progress_is_waited_for(database: Database, clock: FakeClock) -> None:
    """Who asks after ``close_the_past`` sees every row that was on its way."""
    item = new_instance(clock.now(), header(instance="1.2.1"))
    found: list[set[str]] = []

    def ask() -> None:
        with database.write() as connection:
            close_the_past(connection)
            found.append(files_with_row(connection, {item.file: "1.2.1"}))

    asking = threading.Thread(target=ask)
    with database.write() as connection:
        store_instances(connection, [item], receiver="here")
        asking.start()
        asking.join(0.3)
        assert found == []
    asking.join(10)
    assert found == [{item.file}]


def test_an_index_in_the_making_is_not_waited_for(database: Database, clock: FakeClock) -> None:
    """Beside what VACUUM and an online index hold, doubts settle at once and receivers insert."""
    if database.is_sqlite:
        pytest.skip("SQLite has one lock for all")
    with database.write() as vacuum, database.write() as asking:
        vacuum.exec_driver_sql("LOCK TABLE instances, quarantine IN SHARE UPDATE EXCLUSIVE MODE")
        asking.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        close_the_past(asking)
        with database.write() as receiver:
            receiver.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            item = new_instance(clock.now(), header(instance="1.2.1"))
            store_instances(receiver, [item], receiver="there")
        assert files_with_row(asking, {item.file: "1.2.1"}) == {item.file}


def test_a_real_index_and_doubts_stand_beside_each_other(
    database: Database, clock: FakeClock
) -> None:
    """While CREATE INDEX CONCURRENTLY waits for an old reader, doubts are settled."""
    if database.is_sqlite:
        pytest.skip("SQLite has one lock for all")
    with database.snapshot() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM instances")
        building = threading.Thread(target=_build, args=(database,))
        building.start()
        wait_until(lambda: _is_building(database), what="the build of an index")
        with database.write() as asking:
            close_the_past(asking)
        store(database, new_instance(clock.now(), header(instance="1.2.1")))
        assert building.is_alive()
    building.join(30)
    assert not building.is_alive()


def _build(database: Database) -> None:
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            "CREATE INDEX CONCURRENTLY ix_beside ON instances (file)"
        )


def _is_building(database: Database) -> bool:
    held = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'instances'::regclass"
        " AND mode = 'ShareUpdateExclusiveLock' AND granted"
    )
    with database.read() as connection:
        return bool(connection.exec_driver_sql(held).scalar_one())


def test_a_commit_that_does_not_end_is_told(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a writer goes on for too long nothing is decided, and no other receiver waits."""
    if database.is_sqlite:
        pytest.skip("SQLite has one lock for all")
    monkeypatch.setattr(kept_files, "BUSY_SECONDS", 0.5)
    with database.write() as hanging:
        _store_one(hanging, clock, "1.1")
        with pytest.raises(StoreUnavailable, match="still at work"), database.write() as asking:
            close_the_past(asking)


def test_writers_that_begin_later_are_not_waited_for(database: Database, clock: FakeClock) -> None:
    """Receivers that never pause do not put the end of a doubt off."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    asking = threading.Thread(target=_ask, args=(database,))
    with contextlib.ExitStack() as later:
        with database.write() as first:
            _store_one(first, clock, "1.1")
            asking.start()
            wait_until(lambda: _is_asking(database), what="a look at the writers")
            _store_one(later.enter_context(database.write()), clock, "1.2")
        asking.join(BUSY_SECONDS - 1)
        assert not asking.is_alive()


def _store_one(connection: sa.Connection, clock: FakeClock, study: str) -> None:
    item = new_instance(clock.now(), header(study=study), came_by=origin(study))
    store_instances(connection, [item], receiver="here")


def _ask(database: Database) -> None:
    with database.write() as connection:
        close_the_past(connection)


def _is_asking(database: Database) -> bool:
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND query LIKE '%virtualtransaction%' AND pid <> pg_backend_pid()"
    )
    with database.read() as connection:
        return bool(connection.execute(sa.text(asked)).scalar_one())


def test_closing_the_past_writes_to_sqlites_log(database: Database, clock: FakeClock) -> None:
    """SQLite writes a page, over whatever a failed commit may have left in its log."""
    if not database.is_sqlite:
        pytest.skip("PostgreSQL has no such log")
    store(database, new_instance(clock.now(), header()))
    path = database.engine.url.database
    assert path
    with Path(f"{path}-wal").open("rb") as log:
        before = log.read()
        with database.write() as connection:
            close_the_past(connection)
        log.seek(0)
        assert log.read() != before
