"""Who has just looked at what."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

SAME_LOOK = timedelta(minutes=10)
"""A page that renews itself is one look for so long."""

_MOST_LOOKS = 20_000


class Looks:
    """Remembers who has just looked at what, so that a page left open is not a look each second."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._lock = threading.Lock()

    def is_new(self, who: str, what: str, now: datetime) -> bool:
        """Say whether this look is another one than the last, and remember it."""
        with self._lock:
            last = self._last.get((who, what))
            if last is not None and now - last < SAME_LOOK:
                return False
            self._last.pop((who, what), None)
            self._last[who, what] = now
            while len(self._last) > _MOST_LOOKS:
                self._last.popitem(last=False)
            return True
