"""Whether the destinations answer, asked in the background while somebody looks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from intu_fhir.check import CheckRow, check_destination
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import AnyDestination

FRESH_SECONDS = 30.0
FIRST_SECONDS = 0.7
"""So long a page waits for destinations that have never answered: most do in less."""
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination said, and when it was asked."""

    row: CheckRow
    at: datetime


class FarSides:
    """The destinations; who does not answer at once keeps nobody, the page renews itself."""

    def __init__(self, destinations: Mapping[str, AnyDestination], clock: Clock) -> None:
        self._destinations, self._clock = destinations, clock
        self._answers: dict[str, Answer] = {}
        self._asked: dict[str, float] = {}
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._pool: ThreadPoolExecutor | None = None

    def answer(self, name: str) -> Answer | None:
        """Return the newest answer, and have it asked again where that one is old."""
        destination = self._destinations.get(name)
        if destination is None:
            return None
        with self._lock:
            now = self._clock.monotonic()
            if now - self._asked.get(name, float("-inf")) > FRESH_SECONDS:
                self._asked[name] = now
                self._submit(lambda: self._ask(name, destination))
            return self._answers.get(name)

    def wait_for_first(self, names: Collection[str]) -> None:
        """Wait a moment until all of them have answered once."""
        known = [name for name in names if name in self._destinations]
        for name in known:
            self.answer(name)
        with self._answered:
            self._answered.wait_for(
                lambda: all(name in self._answers for name in known), FIRST_SECONDS
            )

    def _submit(self, do: Callable[[], None]) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="web-check")
        self._pool.submit(do)

    def _ask(self, name: str, destination: AnyDestination) -> None:
        row = check_destination(name, destination, self._clock)
        with self._lock:
            self._answers[name] = Answer(row, self._clock.now())
            self._answered.notify_all()

    def close(self) -> None:
        """Ask nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
