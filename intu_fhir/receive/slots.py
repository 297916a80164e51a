"""How many peers are served at once, in all and from one address, over all listeners.

Two kinds are counted apart. A connection without an association yet costs a thread for some
seconds and is never turned away: when there are too many, the oldest of the address that has most
of them has to go. So silent connections, however many, cannot keep an honest peer out, which asks
for its association at once. An association takes a slot and is rejected when there is none.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from intu_fhir.receive.ledger import Ledger


class Slot:
    """The place of one connection; ``close`` is called from another thread to evict it."""

    def __init__(self, address: str, close: Callable[[], None]) -> None:
        self.address = address
        self.close = close


class Slots:
    """Counts connections; shared by the listeners of a process.

    Args:
        max_associations: associations in all; as many connections may wait for one.
        max_per_address: associations from one address.
        ledger: counts those of other processes too, where there are any.
    """

    def __init__(
        self, max_associations: int, max_per_address: int, ledger: Ledger | None = None
    ) -> None:
        self._ledger = ledger
        self._max_associations = max_associations
        self._max_per_address = max_per_address
        self._lock = threading.Lock()
        self._pending: dict[Slot, None] = {}
        self._associated: dict[Slot, None] = {}
        self._per_address: Counter[str] = Counter()

    def enter(self, address: str, close: Callable[[], None]) -> Slot:
        """Admit a connection; may evict another one that has no association."""
        slot = Slot(address, close)
        victim = None
        with self._lock:
            if len(self._pending) >= self._max_associations:
                victim = self._oldest_of_the_most()
                del self._pending[victim]
            self._pending[slot] = None
        if victim is not None:
            victim.close()
        return slot

    def associate(self, slot: Slot) -> str:
        """Take a slot for an association; return ``""`` or the limit that leaves none."""
        with self._lock:
            limit = self._limit_for(slot)
            if not limit:
                del self._pending[slot]
                self._associated[slot] = None
                self._per_address[slot.address] += 1
        return limit

    def _limit_for(self, slot: Slot) -> str:
        evicted = slot not in self._pending
        if evicted or len(self._associated) >= self._max_associations:
            return "max_associations"
        if self._per_address[slot.address] >= self._max_per_address:
            return "max_associations_per_address"
        if self._ledger is not None:
            return self._ledger.take(slot.address, self._max_per_address)
        return ""

    def leave(self, slot: Slot) -> None:
        """Give the place back; safe to call twice."""
        with self._lock:
            self._pending.pop(slot, None)
            if slot in self._associated:
                del self._associated[slot]
                self._per_address[slot.address] -= 1
                if not self._per_address[slot.address]:
                    del self._per_address[slot.address]
                if self._ledger is not None:
                    self._ledger.give(slot.address)

    @property
    def associations(self) -> int:
        """How many associations there are."""
        return len(self._associated)

    @property
    def pending(self) -> int:
        """How many connections wait for their association."""
        return len(self._pending)

    def _oldest_of_the_most(self) -> Slot:
        crowd = Counter(slot.address for slot in self._pending)
        ((address, _),) = crowd.most_common(1)
        return next(slot for slot in self._pending if slot.address == address)
