"""Failed logins are slowed down: by name and by address, longer each time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

FREE = 5
"""Failures that cost no wait."""

FIRST_SECONDS, LONGEST_SECONDS = 2.0, 900.0
_FORGET_SECONDS = 3_600.0
_MOST = 10_000


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


def wait_after(failures: int) -> float:
    """Return for how many seconds nothing is taken after so many failures in a row."""
    if failures < FREE:
        return 0.0
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - FREE, 20))


class Attempts:
    """Counts failures; all times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def seconds_to_wait(self, keys: tuple[str, ...], now: float) -> float:
        """Return how long it is until another try is taken; 0 = now."""
        with self._lock:
            return max((self._left(key, now) for key in keys), default=0.0)

    def _left(self, key: str, now: float) -> float:
        known = self._failures.get(key)
        if known is None:
            return 0.0
        if now - known.last > _FORGET_SECONDS:
            del self._failures[key]
            return 0.0
        return max(0.0, known.last + wait_after(known.count) - now)

    def failed(self, keys: tuple[str, ...], now: float) -> None:
        """Count a failure for each key."""
        with self._lock:
            for key in keys:
                known = self._failures.pop(key, None)
                self._failures[key] = _Failures((known.count if known else 0) + 1, now)
            while len(self._failures) > _MOST:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget what failed before under a key."""
        with self._lock:
            self._failures.pop(key, None)
