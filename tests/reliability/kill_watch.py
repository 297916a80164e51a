"""Looks when the work of processes that were killed is taken again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db.session import Database

_KEYS = {"deliveries": t.deliveries.c.delivery_key, "work": t.work.c.work_key}
_LANES = {"deliveries": t.deliveries.c.destination, "work": t.work.c.step}


@dataclass(frozen=True, slots=True)
class Taken:
    """A piece of work that somebody had again.

    Args:
        lane: its destination, or its step.
        killed_at: monotonic time at which its holder died.
        seconds: from then on until somebody else had it.
    """

    lane: str
    killed_at: float
    seconds: float


@dataclass
class Watch:
    """Holds the leases of dead processes against the table of the queue.

    Args:
        waiting: fence, holder and time of the kill of what nobody has taken yet, by table
            and key.
        taken: what somebody else has had since.
    """

    database: Database
    waiting: dict[tuple[str, int], tuple[int, str, float]] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """How long each piece of work waited, from the kill on."""
        return [one.seconds for one in self.taken]

    def killed(self, pid: int) -> None:
        """Note what a process held when it died; it is dead already."""
        now = time.monotonic()
        for name, key in _KEYS.items():
            table = key.table.c
            held = table.lease_holder.contains(f":{pid}:") & table.lease_until.is_not(None)
            rows = sa.select(key, table.fence, table.lease_holder).where(held)
            for found, fence, holder in self._read(rows):
                self.waiting[name, found] = (fence, holder, now)

    def look(self) -> None:
        """See what has been taken since."""
        for name, key in _KEYS.items():
            wanted = [number for table, number in self.waiting if table == name]
            if wanted:
                columns = (key, key.table.c.fence, key.table.c.lease_holder, _LANES[name])
                found = sa.select(*columns).where(key.in_(wanted))
                self._take(name, self._read(found))

    def _take(self, name: str, rows: Iterable[Any]) -> None:
        now = time.monotonic()
        for number, fence, holder, lane in rows:
            before, dead, since = self.waiting[name, number]
            if holder == dead:
                continue
            if fence > before:  # else the last commit of the dead one came through: it was done
                self.taken.append(Taken(lane, since, now - since))
            del self.waiting[name, number]

    def _read(self, found: sa.Select[Any]) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(found).all())
