"""Complete headers that are old: in which spans of keys they lie, and how those are emptied.

A span goes as a whole or stays as a whole. On PostgreSQL it is a part of the table, emptied at
once; on SQLite so many keys that deleting them holds up nobody. What stays of it are key object
selections: they say which images were taken out of use, for as long as these are known.

The row of an instance stays with all that was staged of it. One that was described and has no
complete header has lost it here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.image_files import KEY_OBJECTS
from intu_fhir.db.partition_tables import PARTITIONED
from intu_fhir.db.partitions import alone_at_parts, parts_of
from intu_fhir.db.pruning import Pruner, at_rest
from intu_fhir.db.tables import headers, instances, studies
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.audit import Action, AuditEvent

KEYS_AT_A_TIME = 200
"""Keys of a span on SQLite: a transaction of some milliseconds."""

AT_REST = ("delivered", "filtered", "staged")
"""States of a study whose headers may go."""

NAMED = 10
"""Most studies that are named as those which keep a span."""


@dataclass(frozen=True, slots=True)
class Span:
    """Keys from ``first`` to before ``end``, and the table that holds their headers."""

    name: str
    first: int
    end: int

    def has(self, key: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Say of a column of keys whether it lies within."""
        return sa.and_(key >= self.first, key < self.end)


@dataclass(frozen=True, slots=True)
class OldHeaders:
    """A span of which all instances came before a time.

    Args:
        headers: complete headers that would go.
        newest_at: when its newest instance came.
        bytes: what the part takes on disk; None on SQLite, which does not say.
        kept_by: some of the studies that keep it, since something is still to be done with them.
    """

    span: Span
    headers: int
    newest_at: datetime
    bytes: int | None
    kept_by: tuple[str, ...]


def next_span(connection: Connection, behind: int) -> Span | None:
    """Return the next span that has what could go, from a key on; None where there is none.

    The last part on PostgreSQL, which has no end, is never one: it still grows.
    """
    key = _first_to_go(connection, headers, behind)
    if key is None:
        return None
    if connection.dialect.name != "postgresql":
        first = key - key % KEYS_AT_A_TIME
        return Span(PARTITIONED, first, first + KEYS_AT_A_TIME)
    for part in parts_of(connection):
        if part.end is not None and key < part.end:
            return Span(part.name, part.first or 0, part.end)
    return None


def _first_to_go(connection: Connection, table: sa.FromClause, behind: int) -> int | None:
    """Return the first key with a header that may go at all."""
    key = table.c.instance_key
    found = (
        sa.select(key)
        .join_from(table, instances, instances.c.instance_key == key)
        .where(key >= behind, instances.c.sop_class_uid != KEY_OBJECTS)
        .order_by(key)
        .limit(1)
    )
    return connection.execute(found).scalar()


def look_at(connection: Connection, span: Span, before: datetime) -> OldHeaders | None:
    """Say what would go with a span and what keeps it; None where it is not old enough.

    It reads all instances of the span, but no header: nobody who needs the table has to wait.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    if not _is_over(connection, span, before):
        return None
    number, newest_at = _counted(connection, span)
    if newest_at is None or newest_at >= before:
        return None
    return OldHeaders(span, number, newest_at, _size(connection, span), _kept_by(connection, span))


def _is_over(connection: Connection, span: Span, before: datetime) -> bool:
    """Say whether a later span had begun by then, so that nothing comes into this one any more."""
    c = instances.c
    later = sa.select(c.received_at).where(c.instance_key >= span.end)
    began = connection.execute(later.order_by(c.instance_key).limit(1)).scalar()
    return began is not None and began < before


def _counted(connection: Connection, span: Span) -> tuple[int, datetime | None]:
    c = instances.c
    goes = sa.case((c.sop_class_uid != KEY_OBJECTS, 1))
    found = sa.select(sa.func.count(goes), sa.func.max(c.received_at))
    number, newest_at = connection.execute(found.where(span.has(c.instance_key))).one()
    return int(number), newest_at


def _size(connection: Connection, span: Span) -> int | None:
    if connection.dialect.name != "postgresql":
        return None
    asked = sa.func.pg_total_relation_size(sa.cast(span.name, sa.dialects.postgresql.REGCLASS))
    return int(connection.execute(sa.select(asked)).scalar_one())


def _kept_by(connection: Connection, span: Span) -> tuple[str, ...]:
    of_span = sa.select(instances.c.study_key).where(span.has(instances.c.instance_key))
    busy = (
        sa.select(studies.c.study_instance_uid)
        .where(studies.c.study_key.in_(of_span), ~sa.and_(*at_rest(AT_REST)))
        .order_by(studies.c.study_key)
        .limit(NAMED)
    )
    return tuple(connection.execute(busy).scalars())


def empty(
    connection: Connection, span: Span, before: datetime, by: Pruner, now: datetime
) -> OldHeaders | None:
    """Remove the headers of a span, if they still may go, in the write transaction given.

    Returns:
        what went, or what keeps it; None where it is not old enough or nothing of it is left.

    Raises:
        StoreUnavailable: somebody reads the part for longer, such as a backup, or another process
            cuts or empties one; try again later.
    """
    if not alone_at_parts(connection):
        raise StoreUnavailable("Another process cuts or empties a part; try again later")
    old = look_at(connection, span, before)
    if old is None or old.kept_by:
        return old
    table = sa.table(span.name, *(sa.column(c.name) for c in headers.c))
    _take(connection, span)
    first = _first_to_go(connection, table, span.first)
    if first is None or first >= span.end:
        return None  # another process has just emptied it
    _remove(connection, span, table)
    _tell(connection, old, by, now)
    return old


def _take(connection: Connection, span: Span) -> None:
    """Wait for those who read the part, and for nobody else.

    No receiver has anything to do with it: its rows go into the last part. What this transaction
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


def _remove(connection: Connection, span: Span, table: sa.TableClause) -> None:
    selections = sa.select(instances.c.instance_key).where(
        # Written out, since a partial index serves only a value that stands in the statement.
        instances.c.sop_class_uid == sa.literal_column(f"'{KEY_OBJECTS}'"),
        span.has(instances.c.instance_key),
    )
    key = table.c.instance_key
    if connection.dialect.name != "postgresql":
        connection.execute(sa.delete(table).where(span.has(key), key.not_in(selections)))
        return
    kept = sa.select(table).where(key.in_(selections))
    text = str(kept.compile(connection, compile_kwargs={"literal_binds": True}))
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE kept_headers ON COMMIT DROP AS {text}")
    connection.exec_driver_sql(f"TRUNCATE TABLE {span.name}")
    put_aside = sa.table("kept_headers", *(sa.column(c.name) for c in table.columns))
    names = [column.name for column in table.columns]
    connection.execute(sa.insert(table).from_select(names, sa.select(put_aside)))


def _tell(connection: Connection, old: OldHeaders, by: Pruner, now: datetime) -> None:
    span = old.span
    record_audit(
        connection,
        AuditEvent(
            Action.HEADERS_REMOVED,
            now,
            by.name,
            by.kind,
            objects=old.headers,
            reason=f"instance_key {span.first} to {span.end - 1}; rows and files stay",
        ),
    )


def without_header(connection: Connection, study_key: int) -> int:
    """Return how many instances of a study have lost their complete header."""
    c = instances.c
    there = sa.select(sa.literal(1)).where(headers.c.instance_key == c.instance_key)
    lost = sa.select(sa.func.count()).where(
        c.study_key == study_key, c.described_at.is_not(None), ~there.correlate(instances).exists()
    )
    return int(connection.execute(lost).scalar_one())


def without_row(connection: Connection, keys: Collection[int]) -> set[int]:
    """Return those of some instances that have no complete header."""
    asked = sa.select(headers.c.instance_key).where(headers.c.instance_key.in_(keys))
    return set(keys) - set(connection.execute(asked).scalars())


def be_first_at_headers(connection: Connection) -> None:
    """Keep headers from being removed until a snapshot ends; the first thing to do in it.

    An emptied part is empty for an older snapshot as well, even of the selections that stay.
    (SQLite shows each reader what was there when it began.)
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {PARTITIONED} IN ACCESS SHARE MODE")
