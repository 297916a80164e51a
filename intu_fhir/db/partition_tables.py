"""Tables that PostgreSQL keeps in parts, by ranges of ``instance_key``.

Keys are given in the order in which instances come, so a range of keys is a span of time. The first
part begins below every key and the last one has no end: there is a place for every row, whoever
maintains the parts and however long nobody did. SQLite has one table.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

PARTITIONED = "headers"
BY_KEY = "RANGE (instance_key)"
_PART = re.compile(rf"{PARTITIONED}_[0-9]{{4,}}")


def part_name(number: int) -> str:
    """Return the name of a part; they are counted from 1."""
    return f"{PARTITIONED}_{number:04}"


def is_part(name: str | None) -> bool:
    """Say whether a table is a part of another one, which speaks for it."""
    return bool(name and _PART.fullmatch(name))


def speaks_for_itself(name: str | None, kind: str, _parents: object) -> bool:
    """Say to Alembic (``include_name``) what of a database the models describe: all but parts."""
    return not (kind == "table" and is_part(name))


def begin_in_one_part(table: sa.Table) -> None:
    """Let a new table have the one part that holds everything, as its migration leaves it."""

    def make(_table: sa.Table, connection: sa.Connection, **_options: object) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                f"CREATE TABLE {part_name(1)} PARTITION OF {PARTITIONED} "
                "FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
            )

    sa.event.listen(table, "after_create", make)
