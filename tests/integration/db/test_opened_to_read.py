"""A connection that SQLite opened for reading alone, since it could not open it for writing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from tests.support.databases import sqlite_url


def test_a_connection_that_can_only_read_is_not_used_again(tmp_path: Path) -> None:
    """It costs the one transaction that finds out; the next one opens the database anew."""
    file = tmp_path / "staging.db"
    first = Database(sqlite_url(file), pool_size=1)
    with first.write() as connection:
        connection.exec_driver_sql("CREATE TABLE seen (number INTEGER)")
    database, to_read = Database(sqlite_url(file), pool_size=1), [f"file:{file}?mode=ro"]

    @sa.event.listens_for(database.engine, "do_connect")
    def _open_to_read(*_: Any) -> sqlite3.Connection | None:
        name = to_read.pop() if to_read else ""
        return sqlite3.connect(name, uri=True, check_same_thread=False) if name else None

    with pytest.raises(StoreUnavailable, match="readonly"), database.write() as connection:
        connection.exec_driver_sql("INSERT INTO seen VALUES (1)")
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO seen VALUES (2)")
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT number FROM seen").scalars().all() == [2]
    for one in (database, first):
        one.close()
