"""Cuts the last part of a partitioned table, so that a new one begins (PostgreSQL alone).

A part is cut in three transactions: a CHECK says where it will end, the CHECK is proved beside
readers and writers, and then, within moments, the part gets its end and the next one begins there.
Each transaction looks at what there is and does what is next: killed anywhere, or done by two
processes at once, it goes on.

Where it ends lies ahead by as many keys as were given in two days, so that no row is beyond it
before the next part is there: a backup, which keeps the last of the three waiting, takes a day at
most (``db.copy``). A table that makes its own keys leaves out those that are left of its part once
it is cut, in a fourth transaction. So its end may lie as far ahead as nobody comes within that day,
and a part that has ended gets no row any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import REGCLASS

from intu_fhir.db.partition_tables import Divided
from intu_fhir.db.tables import metadata

MOST_KEYS = 50_000_000
"""A part is cut when it has so many, whatever the date."""

AHEAD = timedelta(days=2)
LEAST_AHEAD = 1_000
"""At least so many keys lie between the newest one and the end of its part."""

FAR_AHEAD = 1_000_000
"""So many where the table makes its own keys: tries of a large replay come at once."""

Move: TypeAlias = Literal["announced", "proved", "cut", "left", "withdrawn", ""]

_LOCK = 0x494E5450
"""Key of the advisory lock that those who change parts take, "INTP" in ASCII."""

_LOCK_WAIT = "800ms"
"""Who waits longer for a table would make those behind it wait as well.

Where others wait for each other in a circle with who changes parts, PostgreSQL ends any one of them
after a second (``deadlock_timeout``): who changes parts gives way before.
"""

_PARTS = sa.text(
    """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds,
           k.convalidated, pg_get_constraintdef(k.oid) AS check
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.conname = 'cut_' || c.relname
    WHERE i.inhparent = CAST(:parent AS regclass)
    """
)
_BOUNDS = re.compile(r"FROM \((?:MINVALUE|'(-?\d+)')\) TO \((?:MAXVALUE|'(-?\d+)')\)")
_END = re.compile(r"_key < '?(\d+)'?")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table.

    Args:
        first: its first key; None = it begins below all keys.
        end: the first key behind it; None = it has no end.
        cut_at: where a CHECK says that it will end.
        proved: whether the CHECK was proved.
    """

    name: str
    first: int | None
    end: int | None
    cut_at: int | None = None
    proved: bool = False

    @property
    def number(self) -> int:
        """Its number, counted from 1."""
        return int(self.name.rpartition("_")[2])


def parts_of(connection: Connection, table: Divided) -> list[Part]:
    """Return the parts of a table in the order of their keys; none on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    found = [_part(*row) for row in connection.execute(_PARTS, {"parent": table.name})]
    return sorted(found, key=lambda part: (part.first is not None, part.first or 0))


def _part(name: str, bounds: str, proved: bool | None, check: str | None) -> Part:
    found = _BOUNDS.search(bounds)
    if found is None:
        raise ValueError(f"the table {name} has other bounds than a range of keys: {bounds}")
    first, end = (int(key) if key is not None else None for key in found.groups())
    cut_at = _END.search(check or "")
    return Part(name, first, end, int(cut_at[1]) if cut_at else None, bool(proved))


def next_move(
    connection: Connection, table: Divided, now: datetime, most_keys: int = MOST_KEYS
) -> Move:
    """Do what is next for a table's last part, in the write transaction given; return what it was.

    Args:
        most_keys: a part with more is cut before its month is over.

    Returns:
        ``""`` where nothing is due or another process is at it.

    Raises:
        StoreUnavailable: somebody reads the table for longer, such as a backup; try again later.
    """
    if connection.dialect.name != "postgresql" or not alone_at_parts(connection):
        return ""
    last, given = parts_of(connection, table)[-1], Given(connection, table)
    if last.cut_at is None:
        return _leave(given, last) or _announce(given, last, now, most_keys)
    if last.proved:
        return _cut(connection, table, last, last.cut_at)
    if given.newest() + LEAST_AHEAD // 2 >= last.cut_at:
        return _withdraw(connection, last)
    return _prove(connection, last)


def alone_at_parts(connection: Connection) -> bool:
    """Let a transaction be the only one that cuts or empties, and wait for no table for long.

    Two of them could wait for each other in a circle, and receivers behind both.

    Returns:
        whether it is; another process is at it otherwise.
    """
    if connection.dialect.name != "postgresql":
        return True
    got = connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))).scalar_one()
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
    return bool(got)


def _announce(given: Given, last: Part, now: datetime, most_keys: int) -> Move:
    if not _is_due(given, last, now, most_keys):
        return ""
    newest, key = given.newest(), given.table.key
    least = FAR_AHEAD if given.table.counts else LEAST_AHEAD
    cut_at = newest + max(least, given.since(newest, now - AHEAD))
    begins = "" if last.first is None else f"{key} >= {last.first} AND "
    given.connection.exec_driver_sql(
        f"ALTER TABLE {last.name} ADD CONSTRAINT cut_{last.name} "
        f"CHECK ({begins}{key} < {cut_at}) NOT VALID"
    )
    return "announced"


def _is_due(given: Given, last: Part, now: datetime, most_keys: int) -> bool:
    """Say whether the first row of a part came in another month, or it has too many."""
    first = given.first_from(last.first or 0)
    if first is None:
        return False
    key, came = first
    return (came.year, came.month) < (now.year, now.month) or given.newest() - key >= most_keys


def _leave(given: Given, last: Part) -> Move:
    """Let the next row that makes its own key go into the last part, if none does yet."""
    table, connection = given.table, given.connection
    if not table.counts or last.first is None:
        return ""
    sequence = sa.func.pg_get_serial_sequence(table.name, table.key)
    at = sa.func.pg_sequence_last_value(sa.cast(sequence, REGCLASS))
    if (connection.execute(sa.select(at)).scalar() or 0) >= last.first - 1:
        return ""
    connection.execute(sa.select(sa.func.setval(sequence, last.first - 1)))
    return "left"


@dataclass(frozen=True, slots=True)
class Given:
    """Which keys of a table were given when."""

    connection: Connection
    table: Divided

    @property
    def _columns(self) -> tuple[sa.Column[int], sa.Column[datetime]]:
        of = metadata.tables[self.table.of]
        return of.c[self.table.key], of.c[self.table.came]

    def first_from(self, key: int) -> tuple[int, datetime] | None:
        """Return the first key from a key on, with its time."""
        column, came = self._columns
        found = sa.select(column, came).where(column >= key).order_by(column).limit(1)
        row = self.connection.execute(found).first()
        return (row[0], row[1]) if row else None

    def newest(self) -> int:
        """Return the newest key; 0 where there is none."""
        column, _ = self._columns
        return self.connection.execute(sa.select(sa.func.max(column))).scalar() or 0

    def since(self, newest: int, time: datetime) -> int:
        """Return how many keys were given since then, by looking back in growing steps."""
        column, came = self._columns
        back = LEAST_AHEAD
        while back < newest:
            before = sa.select(came).where(column <= newest - back)
            then = self.connection.execute(before.order_by(column.desc()).limit(1)).scalar()
            if then is None or then < time:
                break
            back *= 2
        return back


def _prove(connection: Connection, last: Part) -> Move:
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql(f"ALTER TABLE {last.name} VALIDATE CONSTRAINT cut_{last.name}")
    return "proved"


def _withdraw(connection: Connection, last: Part) -> Move:
    """Take a CHECK back that too many rows have come up to before it was proved."""
    connection.exec_driver_sql(f"ALTER TABLE {last.name} DROP CONSTRAINT cut_{last.name}")
    return "withdrawn"


def _cut(connection: Connection, table: Divided, last: Part, cut_at: int) -> Move:
    following = table.part_name(last.number + 1)
    begins = "MINVALUE" if last.first is None else str(last.first)
    # ATTACH drops a trigger of the table that is referred to, for which it needs that one alone:
    # asked for later than here, who writes would wait for the lock below it, and the cut for him.
    for statement in (
        *(f"LOCK TABLE {one} IN ACCESS EXCLUSIVE MODE" for one in table.locked),
        f"ALTER TABLE {table.name} DETACH PARTITION {last.name}",
        f"ALTER TABLE {table.name} ATTACH PARTITION {last.name} "
        f"FOR VALUES FROM ({begins}) TO ({cut_at})",
        f"CREATE TABLE {following} PARTITION OF {table.name} "
        f"FOR VALUES FROM ({cut_at}) TO (MAXVALUE)",
        f"ALTER TABLE {last.name} DROP CONSTRAINT cut_{last.name}",
    ):
        connection.exec_driver_sql(statement)
    return "cut"
