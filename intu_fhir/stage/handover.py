"""Work that a thread hands over, since it must not wait for a database for ever.

A commit may hang where a standby is lost, and nothing on this side ends it. One thread hangs on
it then; whoever handed over work goes on after a while and answers its peer.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from intu_fhir.errors import OutcomeUnknown, StoreUnavailable
from intu_fhir.stage.order import Order

Item = TypeVar("Item")

WAIT_SECONDS = 20.0
"""Below the time-out of any peer that waits for an answer."""
MAX_WAITING = 1_000


class HandOver(Generic[Item]):
    """One thread that does one piece of work after another.

    Args:
        do: does one; what it raises is raised where it was handed over.
        name: of the thread.
        wait_seconds: how long ``__call__`` waits.
    """

    def __init__(
        self, do: Callable[[Item], None], name: str, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._do, self._wait_seconds = do, wait_seconds
        self._waiting: queue.SimpleQueue[Order[Item, None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Do what was handed over so far and end."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(self._wait_seconds)

    def __call__(self, item: Item) -> None:
        """Have something done; on return it is done.

        Raises:
            StoreUnavailable: it was not done in time, and will not be.
            OutcomeUnknown: it was not done in time, and may be yet.
        """
        if self._waiting.qsize() >= MAX_WAITING:
            raise self._too_late(StoreUnavailable)
        order: Order[Item, None] = Order(item)
        self._waiting.put(order)
        if not order.wait(self._wait_seconds):
            self._give_up(order)
        order.outcome()

    def _give_up(self, order: Order[Item, None]) -> None:
        with self._lock:
            if order.is_settled():
                return
            raise self._too_late(StoreUnavailable if order.give_up() else OutcomeUnknown)

    def _too_late(self, kind: type[StoreUnavailable]) -> StoreUnavailable:
        return kind(
            f"The staging database did not take it within {self._wait_seconds:g} s; the peer is "
            "asked to try again"
        )

    def _run(self) -> None:
        while (order := self._waiting.get()) is not None:
            with self._lock:
                is_wanted = order.take()
            if is_wanted:
                error = self._error_of(order.item)
                with self._lock:
                    order.settle(None, error)

    def _error_of(self, item: Item) -> Exception | None:
        try:
            self._do(item)
        except Exception as error:  # noqa: BLE001  (raised by who waits for it)
            return error
        return None
