"""Old rows of a divided table: in which spans of keys they lie, and how those are emptied.

A span goes as a whole or stays as a whole. On PostgreSQL it is a part of the table, emptied at
once; on SQLite so many keys that deleting them holds up nobody.

A part is emptied and not dropped: that locks the part alone, while a part that leaves its table
takes the table with all that refers to it or is referred to, and everybody waits. An empty one
costs a look at an empty index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import REGCLASS

from intu_fhir.db.audit import record_audit
from intu_fhir.db.partition_tables import Divided
from intu_fhir.db.partitions import Given, alone_at_parts, parts_of
from intu_fhir.db.pruning import Pruner, at_rest
from intu_fhir.db.tables import metadata, studies
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.audit import Action, AuditEvent

KEYS_AT_A_TIME = 200
"""Keys of a span on SQLite: a transaction of some milliseconds."""

AT_REST = ("delivered", "filtered", "staged")
"""States of a study whose old rows may go."""

NAMED = 10
"""Most studies that are named as those which keep a span."""


@dataclass(frozen=True, slots=True)
class Span:
    """Keys from ``first`` to before ``end``, and the table that holds their rows."""

    name: str
    first: int
    end: int

    def has(self, key: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Say of a column of keys whether it lies within."""
        return sa.and_(key >= self.first, key < self.end)


@dataclass(frozen=True, slots=True)
class OldRows:
    """A span of which everything came before a time.

    Args:
        rows: how many would go.
        newest_at: when its newest row came.
        bytes: what the part takes on disk; None on SQLite, which does not say.
        kept_by: some of the studies that keep it, since something is still to be done with them.
    """

    span: Span
    rows: int
    newest_at: datetime
    bytes: int | None
    kept_by: tuple[str, ...]


class Kind(Protocol):
    """What differs between the tables whose old rows go."""

    @property
    def table(self) -> Divided:
        """The table."""

    @property
    def action(self) -> Action:
        """What the audit trail calls it."""

    @property
    def stays(self) -> str:
        """What does not go, in words."""

    def first_to_go(self, connection: Connection, table: sa.FromClause, behind: int) -> int | None:
        """Return the first key from a key on, in the table or a part, that may go at all."""

    def counted(self, connection: Connection, span: Span) -> tuple[int, datetime | None]:
        """Return how many rows would go, and when the newest of the span came."""

    def study_keys(self, span: Span) -> sa.Select[tuple[int]]:
        """Return the studies that a span tells of."""

    def remove(self, connection: Connection, old: OldRows, now: datetime) -> None:
        """Remove what may go; nobody else has the span meanwhile."""


def next_span(connection: Connection, kind: Kind, behind: int) -> Span | None:
    """Return the next span that has what could go, from a key on; None where there is none.

    The last part on PostgreSQL, which has no end, is never one: it still grows.
    """
    table = kind.table
    key = kind.first_to_go(connection, rows_of(table, table.name), behind)
    if key is None:
        return None
    if connection.dialect.name != "postgresql":
        first = key - key % KEYS_AT_A_TIME
        return Span(table.name, first, first + KEYS_AT_A_TIME)
    for part in parts_of(connection, table):
        if part.end is not None and key < part.end:
            return Span(part.name, part.first or 0, part.end)
    return None


def rows_of(table: Divided, name: str) -> sa.TableClause:
    """Return a table, or a part of it, with the columns that the table has."""
    columns = metadata.tables[table.name].columns
    return sa.table(name, *(sa.column(c.name, c.type) for c in columns))


def look_at(connection: Connection, kind: Kind, span: Span, before: datetime) -> OldRows | None:
    """Say what would go with a span and what keeps it; None where it is not old enough."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    if not _is_over(connection, kind, span, before):
        return None
    number, newest_at = kind.counted(connection, span)
    if newest_at is None or newest_at >= before:
        return None
    kept_by = _kept_by(connection, kind, span)
    return OldRows(span, number, newest_at, _size(connection, span), kept_by)


def _is_over(connection: Connection, kind: Kind, span: Span, before: datetime) -> bool:
    """Say whether a later span had begun by then, so that nothing comes into this one any more."""
    later = Given(connection, kind.table).first_from(span.end)
    return later is not None and later[1] < before


def _size(connection: Connection, span: Span) -> int | None:
    if connection.dialect.name != "postgresql":
        return None
    asked = sa.func.pg_total_relation_size(sa.cast(span.name, REGCLASS))
    return int(connection.execute(sa.select(asked)).scalar_one())


def _kept_by(connection: Connection, kind: Kind, span: Span) -> tuple[str, ...]:
    busy = (
        sa.select(studies.c.study_instance_uid)
        .where(studies.c.study_key.in_(kind.study_keys(span)), ~sa.and_(*at_rest(AT_REST)))
        .order_by(studies.c.study_key)
        .limit(NAMED)
    )
    return tuple(connection.execute(busy).scalars())


def empty(
    connection: Connection, kind: Kind, span: Span, before: datetime, by: Pruner, now: datetime
) -> OldRows | None:
    """Remove the rows of a span, if they still may go, in the write transaction given.

    Returns:
        what went, or what keeps it; None where it is not old enough or nothing of it is left.

    Raises:
        StoreUnavailable: somebody reads the part for longer, such as a backup, or another process
            cuts or empties one; try again later.
    """
    if not alone_at_parts(connection):
        raise StoreUnavailable("Another process cuts or empties a part; try again later")
    old = look_at(connection, kind, span, before)
    if old is None or old.kept_by:
        return old
    _take(connection, span)
    first = kind.first_to_go(connection, rows_of(kind.table, span.name), span.first)
    if first is None or first >= span.end:
        return None  # another process has just emptied it
    kind.remove(connection, old, now)
    _tell(connection, kind, old, by, now)
    return old


def _take(connection: Connection, span: Span) -> None:
    """Wait for those who read the part, and for nobody else.

    No writer has anything to do with it: new rows go into the last part. What this transaction
    has of other tables by now is leave to read, which nobody waits for but a cut.
    """
    if connection.dialect.name != "postgresql":
        return
    try:
        connection.exec_driver_sql(f"LOCK TABLE {span.name} IN ACCESS EXCLUSIVE MODE")
    except sa.exc.OperationalError as error:
        if type(error.orig).__name__ != "LockNotAvailable":
            raise
        raise StoreUnavailable(
            f"Somebody reads {span.name} for longer, such as a backup; try again later"
        ) from None


def _tell(connection: Connection, kind: Kind, old: OldRows, by: Pruner, now: datetime) -> None:
    span = old.span
    record_audit(
        connection,
        AuditEvent(
            kind.action,
            now,
            by.name,
            by.kind,
            objects=old.rows,
            reason=f"{kind.table.key} {span.first} to {span.end - 1}; {kind.stays}",
        ),
    )
