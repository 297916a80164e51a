"""Things that are kept for a short while to be used again, such as an open association."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Idle(Generic[T]):
    """What nobody uses now; any number of threads may share it.

    Args:
        seconds: how long something is kept; 0 = nothing is.
        end: ends something that is kept no longer.
        now: seconds on a monotonic clock.
    """

    def __init__(
        self, seconds: float, end: Callable[[T], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._end, self._now = seconds, end, now
        self._lock = threading.Lock()
        self._kept: list[tuple[float, T]] = []
        self._closed = False

    def keep(self, thing: T) -> None:
        """Keep something that was used until now."""
        with self._lock:
            if self._seconds > 0 and not self._closed:
                self._kept.append((self._now() + self._seconds, thing))
                return
        self._end(thing)

    def take(self, fits: Callable[[T], bool] = lambda _: True) -> T | None:
        """Return what fits and was kept last; None where there is nothing."""
        with self._lock:
            for place in range(len(self._kept) - 1, -1, -1):
                if fits(self._kept[place][1]):
                    return self._kept.pop(place)[1]
        return None

    def end_old(self) -> int:
        """End what was kept long enough, and return how much that was."""
        now = self._now()
        with self._lock:
            old = [thing for until, thing in self._kept if until <= now]
            self._kept = [(until, thing) for until, thing in self._kept if until > now]
        for thing in old:
            self._end(thing)
        return len(old)

    def close(self) -> None:
        """End everything, also what is given back from now on; safe to call twice."""
        with self._lock:
            self._closed = True
            left, self._kept = self._kept, []
        for _, thing in left:
            self._end(thing)
