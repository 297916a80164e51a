"""Answers that many ask for at the same time are made once, and kept for a few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    made_at: float = float("-inf")
    value: Any = None


class Cached:
    """Keeps what is expensive; the names are ours, so that there are few."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()

    def get(self, name: str, seconds: float, make: Callable[[], T]) -> T:
        """Return what was made in the last ``seconds``, or make it; others wait meanwhile."""
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
        with slot.lock:
            if time.monotonic() - slot.made_at > seconds:
                slot.value = make()
                slot.made_at = time.monotonic()
            return cast(T, slot.value)

    def forget(self, name: str) -> None:
        """Have it made anew by the next who asks: it was changed just now."""
        with self._lock:
            self._slots.pop(name, None)
