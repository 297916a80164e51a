"""Items that cannot be stored for now since another transaction keeps a row they need."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from intu_fhir.errors import RowLocked
from intu_fhir.stage.order import Order

Item = TypeVar("Item")
Result = TypeVar("Result")

HOLD_SECONDS = 2.0
"""How long they are refused at once after they were tried in vain."""
MOST_TRIES = 3
"""How many kinds of them are tried in vain before the rest of a batch is refused."""
_MOST = 1_000


@dataclass
class Withheld(Generic[Item]):
    """Remembers what was found locked, by what it belongs to, such as its study.

    Args:
        kind: what an item belongs to; items of one kind need the same rows.
    """

    kind: Callable[[Item], Hashable]
    _until: dict[Hashable, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._until)

    def suspect(self, items: Iterable[Item]) -> None:
        """Note items one of which was found locked."""
        if len(self._until) > _MOST:
            self._until.clear()
        for item in items:
            self._until.setdefault(self.kind(item), 0.0)

    def hold(self, items: Iterable[Item]) -> None:
        """Note items of one kind that were found locked."""
        for item in items:
            self._until[self.kind(item)] = time.monotonic() + HOLD_SECONDS

    def release(self, items: Iterable[Item]) -> None:
        """Note that items were stored."""
        for item in items:
            self._until.pop(self.kind(item), None)

    def is_suspect(self, item: Item) -> bool:
        """Say whether an item is to be stored apart from others."""
        return self.kind(item) in self._until

    def is_held(self, item: Item) -> bool:
        """Say whether an item is not even to be tried now."""
        return self._until.get(self.kind(item), 0.0) > time.monotonic()

    def kinds(self, orders: Iterable[Order[Item, Result]]) -> list[list[Order[Item, Result]]]:
        """Return orders by what their items belong to."""
        found: dict[Hashable, list[Order[Item, Result]]] = {}
        for order in orders:
            found.setdefault(self.kind(order.item), []).append(order)
        return list(found.values())

    @staticmethod
    def refusal() -> RowLocked:
        """Return what is told of an item that is not tried."""
        return RowLocked(
            "Another transaction has kept a row of the staging database that this instance needs; "
            "the sender is asked to try again"
        )
