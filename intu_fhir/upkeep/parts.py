"""Begins a new part of each divided table each month; PostgreSQL alone has such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from intu_fhir.db.partition_tables import DIVIDED, Divided
from intu_fhir.db.partitions import MOST_KEYS, Move, next_move
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.upkeep")
EVERY_SECONDS = 600.0
_MOVES = 5
"""A part is cut in four moves at most, and found not to be due in a fifth."""


@dataclass
class ScheduledCut:
    """A chore: cuts the last part of a table when its month is over; any number may do it.

    Args:
        most_keys: a part with more is cut before its month is over.
    """

    database: Database
    clock: Clock
    most_keys: int = MOST_KEYS
    tables: Sequence[Divided] = DIVIDED
    _next: float = 0.0

    def cut_some(self) -> int:
        """Do what is due, now and then; nothing waits for it, so return 0."""
        if self.clock.monotonic() >= self._next:
            # First, so that what fails is not tried again at once.
            self._next = self.clock.monotonic() + EVERY_SECONDS
            for table in self.tables:
                self.cut(table)
        return 0

    def cut(self, table: Divided) -> list[Move]:
        """Do the moves that are due; where somebody reads for long, the rest is for later."""
        done: list[Move] = []
        try:
            while len(done) < _MOVES and (move := self._move(table)):
                done.append(move)
        except StoreUnavailable as error:
            _log.info("part_waits", detail=table.name, reason=str(error))
        if "cut" in done:
            _log.info("part_begun", detail=table.name)
        return done

    def _move(self, table: Divided) -> Move:
        with self.database.write() as connection:
            return next_move(connection, table, self.clock.now(), self.most_keys)
