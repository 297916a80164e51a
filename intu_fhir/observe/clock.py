"""The one clock: the system's time in UTC, and seconds that never go back for what is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

HELD_SECONDS = 5.0
"""A step back of up to so much is waited out.

What NTP corrects in a running machine is less, so what one process writes keeps its order. To stand
still for longer would keep leases and retries from ending, so a larger step is taken over: the time
before it was wrong, and what is written with it is.
"""


class Clock(Protocol):
    """Gives the time; tests inject one that they move themselves."""

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


def system_time() -> datetime:
    """Return what the clock of the machine shows."""
    return datetime.now(UTC)


class SystemClock:
    """The clock of the machine, whatever sets it: a process may be older than its right time.

    One that was begun before NTP knew the time, or whose machine slept, would else stay wrong for
    as long as it runs. Deadlines and waits are on the monotonic clock: no step moves them.
    """

    def __init__(self, wall: Callable[[], datetime] = system_time) -> None:
        self._wall = wall
        self._last = wall()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        with self._lock:
            self._last = following(self._last, self._wall())
            return self._last

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


def following(last: datetime, wall: datetime) -> datetime:
    """Return the time after ``last``: the wall clock's, but still where that went back a little."""
    went_back = timedelta(0) < last - wall <= timedelta(seconds=HELD_SECONDS)
    return last if went_back else wall
