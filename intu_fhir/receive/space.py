"""How much may still be written, so that ``min_free_bytes`` stay free on every disk in use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from intu_fhir.errors import StoreUnavailable
from intu_fhir.observe.clock import Clock

STEP_BYTES = 1 << 20
"""What an object is promised at once; it may write no more until it asks again."""

_LOOK_BYTES = 16 << 20
_LOOK_SECONDS = 1.0
_NONE = -1


class FreeSpace:
    """Promises space to objects of all associations, and none below the floor.

    What is promised and not written yet counts as gone, so that many objects at once cannot pass
    the floor together. Each place is looked at once a second, and after every 16 MB, since other
    processes write there as well.

    Args:
        places: by name, what says how many bytes are free where something is written.
        min_free_bytes: the floor; 0 = there is none.

    Attributes:
        lowest: the place that had least at the last look.
        fault: why that place could not be asked; None = it could, and its space counts.
    """

    def __init__(
        self, places: Mapping[str, Callable[[], int]], min_free_bytes: int, clock: Clock
    ) -> None:
        self._places, self._min_free_bytes, self._clock = places, min_free_bytes, clock
        self._lock = threading.Lock()
        self._promised = self._left = 0
        self._looked = self._low_since = float("-inf")
        self.lowest = ""
        self.fault: StoreUnavailable | None = None

    def promise(self, size: int, used: int = 0) -> bool:
        """Set ``size`` bytes aside; False where that would pass the floor, or nobody can tell.

        Args:
            used: what was promised before, and is written now; stays promised on False.
        """
        if not self._min_free_bytes:
            return True
        with self._lock:
            now = self._clock.monotonic()
            if now < self._low_since + _LOOK_SECONDS:
                return False
            if now >= self._looked + _LOOK_SECONDS or self._left < size:
                self._looked, self._left = now, self._look(used)
            if self._left < size:
                self._low_since = now
                return False
            self._left -= size
            self._promised += size - used
            return True

    def give_back(self, size: int) -> None:
        """Say that what was promised is written, or will not be."""
        if self._min_free_bytes:
            with self._lock:
                self._promised -= size

    def _look(self, used: int) -> int:
        """Return how much may be promised until the next look."""
        left, lowest = _LOOK_BYTES, ""
        for name, free_bytes in self._places.items():
            try:
                here = free_bytes() - self._min_free_bytes - (self._promised - used)
            except (StoreUnavailable, OSError) as error:
                self.lowest, self.fault = name, _as_fault(name, error)
                return _NONE
            if here < left:
                left, lowest = here, name
        self.lowest, self.fault = lowest, None
        return left


def _as_fault(name: str, error: StoreUnavailable | OSError) -> StoreUnavailable:
    if isinstance(error, StoreUnavailable):
        return error
    reason = error.strerror or type(error).__name__
    return StoreUnavailable(f"The disk of the {name} cannot be asked for space: {reason}")
