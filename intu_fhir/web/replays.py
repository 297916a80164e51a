"""What people have put back, kept so that they can watch how it goes on."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MOST_REPLAYS = 100
MOST_WATCHED = 20_000
"""Rows of one replay that are watched; of a larger one these stand for all."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One replay and the rows that it put back.

    Args:
        what: what was put back, in words without patient data.
        count: how many rows there were; more than are watched, where there were very many.
        study: UID of the study that it was about; empty = of a cause or a selection.
    """

    what: str
    by: str
    at: datetime
    count: int
    delivery_keys: Sequence[int]
    work_keys: Sequence[int]
    study: str = ""

    @property
    def watched(self) -> int:
        """How many of them are watched."""
        return len(self.delivery_keys) + len(self.work_keys)


class Replays:
    """The newest replays of this process; the work itself does not depend on them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Watched] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, watched: Watched) -> str:
        """Keep a replay and return its name."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = watched
            while len(self._kept) > MOST_REPLAYS:
                self._kept.popitem(last=False)
        return name

    def find(self, name: str) -> Watched | None:
        """Return a replay, or None where it is forgotten."""
        with self._lock:
            return self._kept.get(name)
