"""One item on its way through group commit, as its submitter and the committing thread see it."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


class Order(Generic[Item, Result]):
    """An item to be stored.

    The submitter says when it is ready to be committed, the committing thread what became of it.
    Two bare locks instead of a ``Future``: every image waits for one, and a ``Future`` costs it
    20 microseconds more. Who calls ``take``, ``park``, ``make_ready``, ``give_up`` or ``settle``
    holds the lock that its two sides share.
    """

    __slots__ = (
        "_error",
        "_is_ready",
        "_parked",
        "_ready",
        "_result",
        "_settled",
        "_taken",
        "item",
    )

    def __init__(self, item: Item) -> None:
        self.item = item
        self._ready, self._settled = threading.Lock(), threading.Lock()
        self._ready.acquire()
        self._settled.acquire()
        self._is_ready = self._parked = False
        self._taken: bool | None = None
        self._result: Result | None = None
        self._error: Exception | None = None

    def make_ready(self) -> bool:
        """Allow the commit; True if it has to be handed over once more for that."""
        self._is_ready = True
        self._ready.release()
        return self._parked

    def fail(self) -> None:
        """Say that it never gets ready; nobody commits it from now on."""
        self._ready.release()

    def wait_ready(self, until: float) -> bool:
        """Wait until monotonic time ``until``; True if it may be committed now."""
        if not self._is_ready and self._ready.acquire(timeout=max(0.0, until - time.monotonic())):
            self._ready.release()
        return self._is_ready

    def park(self) -> bool:
        """Leave it to its submitter unless it is ready; True if that was done."""
        self._parked = not self._is_ready
        if self._parked:
            self._taken = None
        return self._parked

    def take(self) -> bool:
        """Begin to store it, unless its submitter gave it up."""
        if self._taken is None:
            self._taken = True
        return self._taken

    def give_up(self) -> bool:
        """Have it not stored; False if that has begun."""
        if self._taken is None:
            self._taken = False
        return not self._taken

    def settle(self, result: Result | None, error: Exception | None) -> None:
        """Say what became of it."""
        self._result, self._error = result, error
        self._settled.release()

    def is_settled(self) -> bool:
        """Say whether it is known what became of it."""
        return not self._settled.locked()

    def wait(self, seconds: float) -> bool:
        """Wait until it is known what became of it; False if that takes too long."""
        return self._settled.acquire(timeout=seconds)

    def outcome(self) -> Result:
        """Return what storing it gave, or raise why it was not stored."""
        if self._error is not None:
            raise self._error
        return cast(Result, self._result)
