"""Where a destination stands as a whole, in words that lists and the database share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
"""States of a breaker."""

UP, PAUSED, DOWN, RECOVERING, LATER = "up", "paused", "down", "recovering", "later"
"""States of a destination, as lists show them; ``later``: it has asked to be left alone."""

FAILING = "failing"
"""Beside these: it is up, and its newest deliveries have all failed for good."""


@dataclass(frozen=True, slots=True)
class BreakerState:
    """What all workers know of how a destination answers.

    Args:
        breaker: ``closed``; ``open``: it does not answer, only probes go out; ``half_open``: it
            answers again, and gets more and more.
        silences: deliveries in a row that did not reach it.
        opened_at: since when it does not answer.
        next_probe_at: when one delivery tries whether it answers.
        probes: probes since it opened.
        allowed: studies on their way at the same time while it recovers; None = as configured.
        last_error: why it was not reached the last time.
    """

    breaker: str = CLOSED
    silences: int = 0
    opened_at: datetime | None = None
    next_probe_at: datetime | None = None
    probes: int = 0
    allowed: int | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a destination may get another study now.

    Args:
        free_at: when the next one may go, by its rate limit or its own wish; None = at once.
    """

    paused: bool = False
    state: BreakerState = BreakerState()
    free_at: datetime | None = None

    def opens_at(self, now: datetime) -> datetime | None:
        """Return when the next study may go; None while a person has paused the destination."""
        if self.paused:
            return None
        waits = [now, self.free_at, self.state.next_probe_at]
        return max(time for time in waits if time is not None)

    def limit(self, configured: int | None) -> int | None:
        """Return how many studies may be on their way at the same time."""
        if self.state.breaker == OPEN:
            return 1
        allowed = self.state.allowed
        if allowed is None or configured is None:
            return configured if allowed is None else allowed
        return min(allowed, configured)
