"""Group commit: rows of several associations go to disk in one transaction.

A commit costs one wait for the disk however many rows it carries. While one commit runs,
the next batch gathers by itself. What must be on disk before a row (its file) is brought there by
the submitter while the transaction runs up to its commit, which waits for it. Where batches of late
were of several rows, that wait is done first: meanwhile more of them come, and the transaction that
would only have waited is open for a shorter time. A single association never waits for company.

Where another transaction keeps a row for too long, such as that of a study, the items that need it
are refused, and from then on tried apart from others and after them, for a moment only, until they
can be stored (``stage.withheld``).
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from intu_fhir.errors import OutcomeUnknown, RowLocked, StoreUnavailable
from intu_fhir.stage.order import Order
from intu_fhir.stage.withheld import MOST_TRIES, Withheld

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)

MAX_BATCH = 256
MAX_WAITING = 10_000
PATIENCE_SECONDS = 0.05
"""How long a transaction stays open for what its rows speak of; other writers wait meanwhile."""
COMPANY_SECONDS = 0.005
"""How long a batch gathers at most while the file of its first row is brought to disk."""


class StoreBatch(Protocol[_Item, _Result]):
    """Stores a batch in one transaction, durably, and returns a result per item.

    ``before_commit`` is called as the last thing before the commit; what it raises has to undo
    the transaction and to come out.
    """

    def __call__(
        self, items: Sequence[_Item], before_commit: Callable[[], None], /
    ) -> Sequence[_Result]:
        """Store ``items``."""
        ...


class NotReady(Exception):
    """What a row of this transaction speaks of is not on disk yet, or never will be."""


@dataclass(frozen=True)
class Apart(Generic[Item, Result]):
    """How items are stored one of which needs a row that another transaction keeps.

    Args:
        kind: what an item belongs to; those of one kind need the same rows.
        briefly: stores a batch, and waits only for a moment for others' transactions.
    """

    kind: Callable[[Item], Hashable]
    briefly: StoreBatch[Item, Result]


class GroupCommit(Generic[Item, Result]):
    """One thread that stores items in batches; ``submit`` returns once the item is durable.

    Args:
        store: stores a batch.
        wait_seconds: how long ``submit`` waits; below the time-out of any sender.
        max_batch: most items of a transaction.
        apart: how items are stored when ``store`` has raised ``RowLocked``; else all of their
            batch are refused.
    """

    def __init__(
        self,
        store: StoreBatch[Item, Result],
        *,
        wait_seconds: float = 20.0,
        max_batch: int = MAX_BATCH,
        apart: Apart[Item, Result] | None = None,
    ) -> None:
        self._store = store
        self._briefly = apart.briefly if apart else store
        self._withheld = Withheld(apart.kind) if apart else None
        self.wait_seconds = wait_seconds
        self._max_batch = max_batch
        self._waiting: queue.SimpleQueue[Order[Item, Result] | None] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._claims = threading.Lock()
        self._undecided: set[Order[Item, Result]] = set()
        self._company = 1  # rows of the largest batch of late
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
        self._waiting.put(None)
        self._thread.join(self.wait_seconds)

    def waiting(self) -> int:
        """Return how many items wait for the next transaction."""
        return self._waiting.qsize()

    def submit(self, item: Item, meanwhile: Callable[[], None] | None = None) -> Result:
        """Store an item; on return it is on disk.

        Args:
            meanwhile: brings to disk what has to be there before the item; where it raises, the
                item is not stored, and the error is raised here.

        Raises:
            StoreUnavailable: it was not stored, and will not be.
            OutcomeUnknown: it may have been stored, or may be yet. Storing it again is harmless
                and tells.
        """
        if self.waiting() >= MAX_WAITING:
            raise self._too_late(StoreUnavailable)
        order: Order[Item, Result] = Order(item)
        if meanwhile is None:
            order.make_ready()
        self._waiting.put(order)
        if meanwhile is not None:
            self._make_ready(order, meanwhile)
        return self._outcome(order)

    def _make_ready(self, order: Order[Item, Result], work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:
            order.fail()
            raise
        with self._claims:
            was_left_out = order.make_ready()
        if was_left_out:
            self._waiting.put(order)

    def _outcome(self, order: Order[Item, Result]) -> Result:
        if order.wait(self.wait_seconds):
            return order.outcome()
        with self._claims:
            if order.is_settled():
                return order.outcome()
            if order.give_up():
                raise self._too_late(StoreUnavailable)
            self._undecided.add(order)
        raise self._too_late(OutcomeUnknown)

    def undecided(self) -> int:
        """Return how many items are being stored whose submitters wait no longer."""
        return len(self._undecided)

    def _too_late(self, kind: type[StoreUnavailable]) -> StoreUnavailable:
        return kind(
            f"The staging database did not store an instance within {self.wait_seconds:g} s; "
            "the sender is asked to try again"
        )

    def _run(self) -> None:
        while taken := self._next_batch():
            # What its submitter gave up is left out: it was told that this is not stored.
            with self._claims:
                batch = [order for order in taken if order.take()]
            if batch and self._withheld:
                self._store_suspects_last(batch, self._withheld)
            elif batch:
                self._store_batch(batch, self._store)

    def _next_batch(self) -> list[Order[Item, Result]]:
        """Wait for one item and take what else is there; empty at the end."""
        first = self._waiting.get()
        if first is None:
            return []
        if self._company > 1:
            first.wait_ready(time.monotonic() + COMPANY_SECONDS)
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._max_batch:
                more = self._waiting.get_nowait()
                if more is None:
                    self._waiting.put(None)
                    break
                batch.append(more)
        self._company = max(len(batch), self._company - 1)
        return batch

    def _store_suspects_last(
        self, batch: list[Order[Item, Result]], withheld: Withheld[Item]
    ) -> None:
        free = [order for order in batch if not withheld.is_suspect(order.item)]
        suspects = [order for order in batch if withheld.is_suspect(order.item)]
        if free:
            self._store_batch(free, self._store)
        self._store_by_kind(suspects, withheld)

    def _store_by_kind(self, batch: list[Order[Item, Result]], withheld: Withheld[Item]) -> None:
        """Store what can be stored, kind by kind, and keep nobody waiting for the rest."""
        in_vain = 0
        for orders in withheld.kinds(batch):
            if in_vain >= MOST_TRIES or withheld.is_held(orders[0].item):
                for order in orders:
                    self._settle(order, error=withheld.refusal())
            else:
                self._store_batch(orders, self._briefly)
                in_vain += withheld.is_held(orders[0].item)

    def _store_batch(
        self, batch: list[Order[Item, Result]], store: StoreBatch[Item, Result]
    ) -> None:
        try:
            results = self._stored(batch, store)
        except NotReady:
            # Those that are take their turn at once; the others come again when they are.
            with self._claims:
                ready = [order for order in batch if not order.park()]
            if ready:
                self._store_batch(ready, store)
        except RowLocked as error:
            self._store_around(batch, store, error)
        except Exception as error:  # noqa: BLE001  (given to each sender, who answers for it)
            self._store_each_alone(batch, error)
        else:
            if self._withheld:
                self._withheld.release(order.item for order in batch)
            for order, result in zip(batch, results, strict=True):
                self._settle(order, result=result)

    def _store_around(
        self,
        batch: list[Order[Item, Result]],
        store: StoreBatch[Item, Result],
        error: RowLocked,
    ) -> None:
        """After a row was not to be had: others of the batch must not fail for it."""
        withheld, items = self._withheld, [order.item for order in batch]
        if withheld is not None and store is not self._briefly:
            withheld.suspect(items)
            if len(withheld.kinds(batch)) > 1:
                self._store_by_kind(batch, withheld)
                return
        elif withheld is not None:
            withheld.hold(items)
        for order in batch:
            self._settle(order, error=error)

    def _stored(
        self, batch: list[Order[Item, Result]], store: StoreBatch[Item, Result]
    ) -> Sequence[Result]:
        def before_commit() -> None:
            until = time.monotonic() + PATIENCE_SECONDS
            if not all(order.wait_ready(until) for order in batch):
                raise NotReady

        return store([order.item for order in batch], before_commit)

    def _store_each_alone(self, batch: list[Order[Item, Result]], error: Exception) -> None:
        """After a failed batch: one bad item must not fail its neighbours."""
        if isinstance(error, StoreUnavailable) or len(batch) == 1:
            for order in batch:
                self._settle(order, error=error)
            return
        for order in batch:
            self._store_batch([order], self._briefly)

    def _settle(
        self,
        order: Order[Item, Result],
        *,
        result: Result | None = None,
        error: Exception | None = None,
    ) -> None:
        with self._claims:
            self._undecided.discard(order)
            order.settle(result, error)
