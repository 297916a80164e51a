"""Which files a row speaks of, and since when that is certain."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from intu_fhir.db.instances import store_instances
from intu_fhir.db.kept_files import close_the_past, files_with_row, newest_files
from intu_fhir.db.session import Database
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, store


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
