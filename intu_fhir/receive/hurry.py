"""When to have what was read acknowledged at once: where the sender waits for it.

A sender that leaves Nagle's algorithm on holds the end of a message back until its begin is
acknowledged, which costs it 40 ms where the receiver delays that. To acknowledge at once costs
something too: packets, and with them a tenth of the rate of a sender that never waits. So it is
done for the first reads, then left out, and done for good after the first wait of that kind.
"""

from __future__ import annotations

FIRST_READS = 64
STALL_SECONDS = 0.025


class Hurry:
    """What one connection has shown of its sender."""

    def __init__(self) -> None:
        self._left = FIRST_READS
        self._has_stalled = False

    def waited(self, seconds: float) -> None:
        """Note how long the next bytes of a message took to come."""
        self._has_stalled = self._has_stalled or seconds >= STALL_SECONDS

    def is_wanted(self) -> bool:
        """Say, after a read inside a message, whether to acknowledge at once."""
        if self._left > 0:
            self._left -= 1
            return True
        return self._has_stalled
