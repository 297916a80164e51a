"""New studies that come at a steady pace, and how long each takes to arrive."""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.support.many import Many, study_uid
from tests.support.waiting import wait_until

Arrivals = Callable[[], Mapping[str, float]]
"""When each study arrived, by its UID, in seconds of the monotonic clock."""


@dataclass
class Live:
    """Studies of a modality that never stops.

    Args:
        bell: FIFO that wakes what delivers, as the end of a build does; None: it looks by itself.
        first: number of the first study.
    """

    many: Many
    destinations: Sequence[str]
    bell: Path | None = None
    first: int = 1_000_001
    due: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the bell for reading too, so that ringing it waits for nobody."""
        self._numbers = itertools.count(self.first)
        self._fifo = -1
        if self.bell is not None:
            os.mkfifo(self.bell)
            self._fifo = os.open(self.bell, os.O_RDWR)

    def one(self) -> int:
        """Let one study become due; return its number."""
        number = next(self._numbers)
        self.many.add([number], self.destinations, due=datetime.now(UTC))
        self.due[number] = time.monotonic()
        if self._fifo >= 0:
            os.write(self._fifo, b"\n")
        return number

    def come(self, seconds: float, every: float) -> list[int]:
        """Let one come every so often; return their numbers."""
        begun, came = time.monotonic(), list[int]()
        while time.monotonic() < begun + seconds:
            came.append(self.one())
            time.sleep(max(0.0, begun + len(came) * every - time.monotonic()))
        return came

    @contextmanager
    def coming(self, every: float) -> Iterator[list[int]]:
        """Let them come in a thread until the end of the block."""
        over, came = threading.Event(), list[int]()

        def go_on() -> None:
            while not over.wait(every):
                came.append(self.one())

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield came
        finally:
            over.set()
            thread.join()

    def delays(self, numbers: Sequence[int], arrivals: Arrivals) -> list[float]:
        """Wait until all have arrived; return the seconds that each took."""
        wanted = {study_uid(number): self.due[number] for number in numbers}
        wait_until(lambda: wanted.keys() <= arrivals().keys(), 120, "all live studies")
        arrived = arrivals()
        return [arrived[uid] - due for uid, due in wanted.items()]

    def close(self) -> None:
        """Close the bell."""
        if self._fifo >= 0:
            os.close(self._fifo)


def p99(values: Sequence[float]) -> float:
    """Return what 99 of 100 do not exceed."""
    return statistics.quantiles(values, n=100)[98]


def in_words(values: Sequence[float]) -> str:
    """Return median, p95 and p99 in milliseconds."""
    cuts = statistics.quantiles(values, n=100)
    return "p50 {:.0f} ms, p95 {:.0f} ms, p99 {:.0f} ms".format(
        *(1000 * cuts[n - 1] for n in (50, 95, 99))
    )
