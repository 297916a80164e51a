"""Tables that PostgreSQL keeps in parts, by ranges of a key.

Keys are given in the order in which rows come, so a range of keys is a span of time. The first
part begins below every key and the last one has no end: there is a place for every row, whoever
maintains the parts and however long nobody did. SQLite has one table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Divided:
    """A table in parts.

    Args:
        key: the column by whose ranges it is divided.
        of: the table whose rows say which keys were given when: itself, or that which it tells of.
        came: the column of ``of`` that says when.
        locked: what a cut takes alone, in the order in which whoever writes takes it.
    """

    name: str
    key: str
    of: str
    came: str
    locked: tuple[str, str]

    @property
    def by(self) -> str:
        """What it is divided by, in SQL."""
        return f"RANGE ({self.key})"

    @property
    def counts(self) -> bool:
        """Whether its own rows make its keys."""
        return self.of == self.name

    def part_name(self, number: int) -> str:
        """Return the name of a part; they are counted from 1."""
        return f"{self.name}_{number:04}"


HEADERS = Divided("headers", "instance_key", "instances", "received_at", ("headers", "instances"))
ATTEMPTS = Divided("attempts", "attempt_key", "attempts", "ended_at", ("attempts", "deliveries"))
DIVIDED = (HEADERS, ATTEMPTS)
"""All of them."""

_PART = re.compile(rf"(?:{'|'.join(table.name for table in DIVIDED)})_[0-9]{{4,}}")


def is_part(name: str | None) -> bool:
    """Say whether a table is a part of another one, which speaks for it."""
    return bool(name and _PART.fullmatch(name))


def speaks_for_itself(name: str | None, kind: str, _parents: object) -> bool:
    """Say to Alembic (``include_name``) what of a database the models describe: all but parts."""
    return not (kind == "table" and is_part(name))


def begin_in_one_part(table: sa.Table, divided: Divided) -> None:
    """Let a new table have the one part that holds everything, as its migration leaves it."""

    def make(_table: sa.Table, connection: sa.Connection, **_options: object) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                f"CREATE TABLE {divided.part_name(1)} PARTITION OF {divided.name} "
                "FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
            )

    sa.event.listen(table, "after_create", make)
