"""Complete headers that are old, and what stays of them.

Key object selections stay: they say which images were taken out of use, for as long as these are
known. The row of an instance stays with all that was staged of it. One that was described and has
no complete header has lost it here.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.image_files import KEY_OBJECTS
from intu_fhir.db.partition_tables import HEADERS
from intu_fhir.db.spans import OldRows, Span, rows_of
from intu_fhir.db.tables import headers, instances
from intu_fhir.model.audit import Action


class Headers:
    """Complete headers, which go by when their instances came."""

    table = HEADERS
    action = Action.HEADERS_REMOVED
    stays = "rows and files stay"

    def first_to_go(self, connection: Connection, table: sa.FromClause, behind: int) -> int | None:
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

    def counted(self, connection: Connection, span: Span) -> tuple[int, datetime | None]:
        """Count instances, not headers: nobody who needs that table has to wait."""
        c = instances.c
        goes = sa.case((c.sop_class_uid != KEY_OBJECTS, 1))
        found = sa.select(sa.func.count(goes), sa.func.max(c.received_at))
        number, newest_at = connection.execute(found.where(span.has(c.instance_key))).one()
        return int(number), newest_at

    def study_keys(self, span: Span) -> sa.Select[tuple[int]]:
        """Return the studies of the instances."""
        return sa.select(instances.c.study_key).where(span.has(instances.c.instance_key))

    def remove(self, connection: Connection, old: OldRows, now: datetime) -> None:
        """Remove headers, and put those of key object selections aside meanwhile."""
        span = old.span
        selections = sa.select(instances.c.instance_key).where(
            # Written out, since a partial index serves only a value that stands in the statement.
            instances.c.sop_class_uid == sa.literal_column(f"'{KEY_OBJECTS}'"),
            span.has(instances.c.instance_key),
        )
        table = rows_of(self.table, span.name)
        key = table.c.instance_key
        if connection.dialect.name != "postgresql":
            connection.execute(sa.delete(table).where(span.has(key), key.not_in(selections)))
            return
        kept = sa.select(table).where(key.in_(selections))
        text = str(kept.compile(connection, compile_kwargs={"literal_binds": True}))
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE kept_headers ON COMMIT DROP AS {text}")
        connection.exec_driver_sql(f"TRUNCATE TABLE {span.name}")
        put_aside = rows_of(self.table, "kept_headers")
        names = [column.name for column in table.columns]
        connection.execute(sa.insert(table).from_select(names, sa.select(put_aside)))


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
        connection.exec_driver_sql(f"LOCK TABLE {HEADERS.name} IN ACCESS SHARE MODE")
