"""Begins a new part of the partitioned table each month; PostgreSQL alone has such."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from intu_fhir.db.partitions import MOST_KEYS, Move, next_move
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.upkeep")
EVERY_SECONDS = 600.0
_MOVES = 4
"""A part is cut in three moves, and found not to be due in a fourth."""


@dataclass
class ScheduledCut:
    """A chore: cuts the last part when its month is over; any number of processes may do it.

    Args:
        most_keys: a part with more is cut before its month is over.
    """

    database: Database
    clock: Clock
    most_keys: int = MOST_KEYS
    _next: float = 0.0

    def cut_some(self) -> int:
        """Do what is due, now and then; nothing waits for it, so return 0."""
        if self.clock.monotonic() >= self._next:
            # First, so that what fails is not tried again at once.
            self._next = self.clock.monotonic() + EVERY_SECONDS
            self.cut()
        return 0

    def cut(self) -> list[Move]:
        """Do the moves that are due; where somebody reads for long, the rest is for later."""
        done: list[Move] = []
        try:
            while len(done) < _MOVES and (move := self._move()):
                done.append(move)
        except StoreUnavailable as error:
            _log.info("part_waits", reason=str(error))
        if "cut" in done:
            _log.info("part_begun", detail="headers")
        return done

    def _move(self) -> Move:
        with self.database.write() as connection:
            return next_move(connection, self.clock.now(), self.most_keys)
