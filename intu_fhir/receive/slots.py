"""How many peers are served at once, in all and from one address, over all listeners.

Two kinds are counted apart. A connection without an association yet costs a thread for some
seconds and is never turned away: when there are too many, the oldest of the peer that has most
of them has to go. So silent connections, however many, cannot keep an honest peer out, which asks
for its association at once. An association takes a place in the ledger. It is rejected when there
is none, and when nobody who holds more has one that nothing comes from.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from intu_fhir.receive.ledger import Ledger, Place
from intu_fhir.receive.peers import peer_key

_FEWEST_PENDING = 16


class Slot:
    """What one connection holds; ``close`` is called from another thread to evict it."""

    def __init__(self, address: str, close: Callable[[], None]) -> None:
        self.peer = peer_key(address)
        self.close = close
        self.place: Place | None = None

    @property
    def is_lost(self) -> bool:
        """Say whether the place of its association has gone to somebody else."""
        return self.place is not None and not self.place.is_ours


class Slots:
    """Counts connections; shared by the listeners of a process.

    Args:
        max_associations: associations in all; as many connections may wait for one, or 16.
        max_per_address: associations from one address.
        ledger: counts those of other processes too, where there are any.
        processes: how many receive; each has its share of those that wait.
    """

    def __init__(
        self,
        max_associations: int,
        max_per_address: int,
        ledger: Ledger | None = None,
        processes: int = 1,
    ) -> None:
        self._ledger = Ledger.of_one(max_associations) if ledger is None else ledger
        share = -(-max_associations // processes)
        self._max_pending = max(share, _FEWEST_PENDING)
        self._max_per_address = max_per_address
        self._lock = threading.Lock()
        self._pending: dict[Slot, None] = {}
        self._associated: dict[Slot, None] = {}

    def enter(self, address: str, close: Callable[[], None]) -> Slot:
        """Admit a connection; may evict another one that has no association."""
        slot = Slot(address, close)
        with self._lock:
            victim = self._take_in(slot)
        if victim is not None:
            victim.close()
        return slot

    def evict(self) -> bool:
        """Close a connection without an association; False where there is none."""
        with self._lock:
            victim = self._take_oldest_of_the_most()
        if victim is not None:
            victim.close()
        return victim is not None

    def associate(self, slot: Slot, now: float) -> str:
        """Take a place for an association; return ``""`` or the limit that leaves none.

        Args:
            now: seconds of the monotonic clock.
        """
        with self._lock:
            if slot not in self._pending:  # it was evicted in this very moment
                return "max_associations"
            place = self._ledger.take(slot.peer, self._max_per_address, now)
            if isinstance(place, str):
                return place
            slot.place = place
            del self._pending[slot]
            self._associated[slot] = None
        return ""

    def linger(self, slot: Slot) -> None:
        """Give the place of an ended association back, while its connection waits for the peer.

        Until that has closed it, it counts as one without an association.
        """
        victim = None
        with self._lock:
            if self._give_place(slot):
                victim = self._take_in(slot)
        if victim is not None:
            victim.close()

    def leave(self, slot: Slot) -> None:
        """Give the place back; safe to call twice."""
        with self._lock:
            self._pending.pop(slot, None)
            self._give_place(slot)

    def _give_place(self, slot: Slot) -> bool:
        if slot not in self._associated or slot.place is None:
            return False
        del self._associated[slot]
        self._ledger.give(slot.place)
        return True

    @property
    def associations(self) -> int:
        """How many associations there are in this process, those that are about to end too."""
        return len(self._associated)

    @property
    def pending(self) -> int:
        """How many connections wait for their association."""
        return len(self._pending)

    def _take_in(self, slot: Slot) -> Slot | None:
        """Let a connection wait; return the one that has to go for it, if any."""
        full = len(self._pending) >= self._max_pending
        victim = self._take_oldest_of_the_most() if full else None
        self._pending[slot] = None
        return victim

    def _take_oldest_of_the_most(self) -> Slot | None:
        crowd = Counter(slot.peer for slot in self._pending)
        if not crowd:
            return None
        ((peer, _),) = crowd.most_common(1)
        victim = next(slot for slot in self._pending if slot.peer == peer)
        del self._pending[victim]
        return victim
