"""Who was rejected lately: in memory, so that whoever knocks without end fills no table."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

KEPT = 50
"""So many peers and reasons are told apart; the one that has been silent for longest goes."""
REMEMBERED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Associations that one peer was refused for one reason.

    Args:
        peer: its address.
        detail: the reason, with called and calling AE title.
        count: how often since ``since``.
    """

    channel: str
    peer: str
    detail: str
    count: int
    since: datetime
    last: datetime


class Rejections:
    """The rejected associations of the last day, of all listeners of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str, str], Rejected] = {}

    def note(self, channel: str, peer: str, detail: str, now: datetime) -> None:
        """Count one."""
        key = channel, peer, detail
        with self._lock:
            before = self._kept.pop(key, None)
            if before is None or before.last < now - REMEMBERED:
                before = Rejected(channel, peer, detail, 0, now, now)
            self._kept[key] = replace(before, count=before.count + 1, last=now)
            if len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]

    def lately(self, now: datetime) -> list[Rejected]:
        """Return those of the last day, the latest first."""
        with self._lock:
            kept = list(self._kept.values())
        return [one for one in reversed(kept) if one.last >= now - REMEMBERED]
