"""What a migration may do to a large table while receivers and workers go on.

PostgreSQL builds an index beside the writers (``CONCURRENTLY``), outside of a transaction. A
migration that does so does nothing else: killed in the middle it is run again from its beginning,
and finds what it left. SQLite has one writer, which waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection

from intu_fhir.db.version_tables import schema_versions

BATCH_ROWS = 5_000

Columns = Sequence[str | sa.ColumnElement[Any]]


def create_index(name: str, table: str, columns: Columns, **options: Any) -> None:
    """Make an index, in the place of one of that name; on PostgreSQL beside the writers.

    One that is replaced serves until its successor can: claims and searches would read the whole
    table meanwhile.
    """
    if op.get_bind().dialect.name != "postgresql":
        op.drop_index(name, table, if_exists=True)
        op.create_index(name, table, [*columns], **options)
        return
    new = f"{name}_new"
    with _between_transactions():
        # What a killed run left: not valid, and in the way of its own name.
        op.drop_index(new, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(new, table, [*columns], postgresql_concurrently=True, **options)
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.execute(f"ALTER INDEX {new} RENAME TO {name}")


def drop_index(name: str, table: str) -> None:
    """Drop an index; on PostgreSQL without keeping anybody from writing."""
    if op.get_bind().dialect.name != "postgresql":
        op.drop_index(name, table, if_exists=True)
        return
    with _between_transactions():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)


def fill(some: Callable[[Connection, int], int]) -> None:
    """Fill a new column a few rows at a time, each time in a transaction of its own.

    Args:
        some: fills at most so many rows that are not filled yet, and returns how many it did. It
            chooses them by what they lack, so that a killed run goes on where it ended.
    """
    if op.get_bind().dialect.name != "postgresql":
        while some(op.get_bind(), BATCH_ROWS):
            pass
        return
    with _between_transactions():
        while some(op.get_bind(), BATCH_ROWS):
            pass


def runs_from(oldest: str) -> None:
    """Say that only programs that know the revision ``oldest`` may run on the schema from now on.

    A migration that takes away what older programs read or write says so, and its way back names
    the one from before; one that only adds says nothing.
    """
    op.get_bind().execute(sa.update(schema_versions).values(runs_from=oldest))


@contextmanager
def _between_transactions() -> Iterator[None]:
    with op.get_context().autocommit_block():
        # Who waits here keeps nobody else waiting, so there is no hurry.
        op.execute("SET lock_timeout = 0")
        yield
    op.execute("SET lock_timeout = '5s'")
