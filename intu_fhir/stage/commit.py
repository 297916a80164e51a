"""Group commit: rows of several associations go to disk in one transaction.

A commit costs one wait for the disk however many rows it carries. While one commit runs,
the next batch gathers by itself, so nobody waits for company.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from intu_fhir.errors import OutcomeUnknown, StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH = 256
MAX_WAITING = 10_000


class GroupCommit(Generic[Item, Result]):
    """One thread that stores items in batches; ``submit`` returns once the item is durable.

    Args:
        store: stores a batch in one transaction, durably, and returns a result per item.
        wait_seconds: how long ``submit`` waits; below the time-out of any sender.
    """

    def __init__(
        self, store: Callable[[Sequence[Item]], Sequence[Result]], *, wait_seconds: float = 20.0
    ) -> None:
        self._store = store
        self._wait_seconds = wait_seconds
        self._waiting: queue.Queue[tuple[Item, Future[Result]] | None] = queue.Queue(MAX_WAITING)
        self._starting = threading.Lock()
        self._undecided: set[Future[Result]] = set()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Begin to store what is submitted; once is enough."""
        with self._starting:
            if not self._thread.is_alive():
                self._thread.start()

    def stop(self) -> None:
        """Store what was submitted so far and end."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=self._wait_seconds)
        self._thread.join(self._wait_seconds)

    def waiting(self) -> int:
        """Return how many items wait for the next transaction."""
        return self._waiting.qsize()

    def submit(self, item: Item) -> Result:
        """Store an item; on return it is on disk.

        Raises:
            StoreUnavailable: it was not stored, and will not be.
            OutcomeUnknown: it may have been stored, or may be yet. Storing it again is harmless
                and tells.
        """
        future: Future[Result] = Future()
        try:
            self._waiting.put((item, future), timeout=self._wait_seconds)
        except queue.Full:
            raise self._too_late(StoreUnavailable) from None
        with contextlib.suppress(TimeoutError):
            return future.result(self._wait_seconds)
        if future.cancel():
            raise self._too_late(StoreUnavailable)
        self._undecided.add(future)
        future.add_done_callback(self._undecided.discard)
        raise self._too_late(OutcomeUnknown)

    def undecided(self) -> int:
        """Return how many items are being stored whose submitters wait no longer."""
        return len(self._undecided)

    def _too_late(self, kind: type[StoreUnavailable]) -> StoreUnavailable:
        return kind(
            f"The staging database did not store an instance within {self._wait_seconds:g} s; "
            "the sender is asked to try again"
        )

    def _run(self) -> None:
        while taken := self._next_batch():
            # What its submitter gave up is left out: it was told that this is not stored.
            batch = [one for one in taken if one[1].set_running_or_notify_cancel()]
            if not batch:
                continue
            items = [item for item, _ in batch]
            try:
                results = self._store(items)
            except Exception as error:  # noqa: BLE001  (given to each sender, who answers for it)
                self._store_each_alone(batch, error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)

    def _next_batch(self) -> list[tuple[Item, Future[Result]]]:
        """Wait for one item and take what else is there; empty at the end."""
        first = self._waiting.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._waiting.put(None)
                break
            batch.append(more)
        return batch

    def _store_each_alone(self, batch: list[tuple[Item, Future[Result]]], error: Exception) -> None:
        """After a failed batch: one bad item must not fail its neighbours."""
        if isinstance(error, StoreUnavailable) or len(batch) == 1:
            for _, future in batch:
                future.set_exception(error)
            return
        for item, future in batch:
            try:
                future.set_result(self._store([item])[0])
            except Exception as alone:  # noqa: BLE001  (given to the sender)
                future.set_exception(alone)
