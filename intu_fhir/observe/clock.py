"""The one clock: UTC labels that follow the monotonic clock, so a clock step changes nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Gives the time; tests inject one that they move themselves."""

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


class SystemClock:
    """Wall time taken once at start, advanced by the monotonic clock from then on.

    A step of the wall clock during the run moves no lease, no retry and no time-out.
    """

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        self._origin = time.monotonic()

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return self._start + timedelta(seconds=self.monotonic() - self._origin)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
