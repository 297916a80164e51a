"""How many deflated data sets are read at the same time.

A few kilobytes can inflate to millions of elements: so many senders at once would take the
processor from all others, though each stays within its own limits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from intu_fhir.errors import Busy

TURN_SECONDS = 8.0
"""How long a data set waits for its turn; less than modalities wait for an answer."""


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
                f"No turn to read a deflated data set came within {self._wait_seconds:g} seconds; "
                "it may be sent again, and receiver.max_inflating be raised where processors idle",
                "max_inflating",
            )
        try:
            yield
        finally:
            self._free.release()
