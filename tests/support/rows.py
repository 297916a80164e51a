"""What a table holds, for tests that look at all of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from intu_fhir.db.session import Database


def rows_of(database: Database, table: sa.Table) -> list[Any]:
    """Return all rows of a table by their keys: PostgreSQL promises no order by itself."""
    ordered = sa.select(table).order_by(*table.primary_key)
    with database.read() as connection:
        return list(connection.execute(ordered).all())


def waiters(database: Database) -> int:
    """Return how many wait for a table of PostgreSQL."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
    with database.read() as connection:
        return int(connection.exec_driver_sql(waiting).scalar_one())


def row_waiters(database: Database) -> int:
    """Return how many wait on PostgreSQL for a row that another transaction has changed."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    with database.read() as connection:
        return int(connection.exec_driver_sql(waiting).scalar_one())
