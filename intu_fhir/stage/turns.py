"""How many data sets that take long to read are read at the same time.

Those are the deflated ones, since a few kilobytes can inflate to millions of elements, and those of
many elements: a megabyte of empty items takes a hundred times as long as one of pixels. So many
senders at once would take the processor from all others, though each stays within its own limits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from intu_fhir.errors import Busy

TURN_SECONDS = 8.0
"""How long a data set waits for its turn; less than modalities wait for an answer."""


SHORT_ELEMENTS = 1_000
"""Elements, items and fragments that are read without a turn: some milliseconds."""


class Turns:
    """Lets ``most`` threads of a process do something at the same time."""

    def __init__(self, most: int = 2, wait_seconds: float = TURN_SECONDS) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._wait_seconds = wait_seconds

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and keep it.

        Raises:
            Busy: it did not come in time.
        """
        if not self._free.acquire(timeout=self._wait_seconds):
            raise Busy(
                "No turn to read a deflated or long data set came within "
                f"{self._wait_seconds:g} seconds; it may be sent again, and "
                "receiver.max_inflating be raised where processors idle",
                "max_inflating",
            )
        try:
            yield
        finally:
            self._free.release()
