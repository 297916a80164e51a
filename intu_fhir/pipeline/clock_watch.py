"""Whether the clock of this machine may be worked by: leases are compared between machines.

One that is ahead of the others takes what they hold, one that is behind holds nothing: a PACS gets
images twice, and limits are exceeded. All of them know the time of the database.
"""

from __future__ import annotations

import threading
from datetime import datetime

import structlog

from intu_fhir.db.server_time import server_time
from intu_fhir.db.session import Database
from intu_fhir.observe.clock import Clock
from intu_fhir.observe.metrics import CLOCK_OFFSET

_log = structlog.get_logger("intu_fhir.pipeline")

LOOK_SECONDS = 20.0
"""How often it is compared; a machine that was suspended is found out within this."""

_SHARE, _LEAST_SECONDS = 0.1, 1.0


def bound_seconds(lease_seconds: float) -> float:
    """Return by how much a clock may be off.

    Two that are off to either side differ by a fifth of the lease, and a lease is renewed when a
    third of it has passed. Less than a second nobody keeps, nor can it be measured for certain.
    """
    return max(_SHARE * lease_seconds, _LEAST_SECONDS)


def offset_seconds(before: datetime, there: datetime, after: datetime) -> float:
    """Return by how much a clock is ahead for certain, below 0 where it is behind.

    Args:
        before: this clock, when the other one was asked.
        there: what the other one showed, at some time until the answer.
        after: this clock, when the answer was there.
    """
    if there < before:
        return (before - there).total_seconds()
    return min((after - there).total_seconds(), 0.0)


class ClockWatch:
    """Compares the clock with the database's at the start and then every while."""

    def __init__(self, database: Database, clock: Clock, lease_seconds: float) -> None:
        self._database, self._clock = database, clock
        self._bound = bound_seconds(lease_seconds)
        self._lock = threading.Lock()
        self._looked: tuple[datetime, float] | None = None
        self.fault = ""

    @property
    def has_looked(self) -> bool:
        """Say whether it is asked at all: a process that only receives holds nothing by a clock."""
        return self._looked is not None

    def is_right(self) -> bool:
        """Say whether work may be taken by this clock.

        Raises:
            StoreUnavailable: it is time to look, and the database does not answer.
        """
        with self._lock:
            if self._is_due():
                self._look()
            return not self.fault

    def _is_due(self) -> bool:
        """Say whether to look: after a while, and as soon as the time was set."""
        if self._looked is None:
            return True
        wall, monotonic = self._looked
        passed = self._clock.monotonic() - monotonic
        stepped = (self._clock.now() - wall).total_seconds() - passed
        return passed >= LOOK_SECONDS or abs(stepped) > self._bound / 2

    def _look(self) -> None:
        offset = self._offset()
        self._looked = (self._clock.now(), self._clock.monotonic())
        CLOCK_OFFSET.set(offset)
        fault = said(offset) if abs(offset) > self._bound else ""
        if fault:
            _log.warning("clock_off", reason=fault, limit=self._bound)
        elif self.fault:
            _log.info("clock_right")
        self.fault = fault

    def _offset(self) -> float:
        with self._database.read() as connection:
            before = self._clock.now()
            there = server_time(connection)
            return offset_seconds(before, there, self._clock.now()) if there else 0.0


def said(offset: float) -> str:
    """Return in words what a clock shows."""
    side = "ahead of" if offset > 0 else "behind"
    return f"{abs(offset):.1f} s {side} the database; no work is taken until both agree"
