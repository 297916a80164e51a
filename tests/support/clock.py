"""A clock that only a test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2024, 3, 1, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    """An ``intu_fhir.observe.clock.Clock`` that stands still until it is told otherwise."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._monotonic

    def advance(self, seconds: float) -> datetime:
        """Let time pass and return the new time."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        return self._now

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forth or back, as an operator does; no time passes."""
        self._now += timedelta(seconds=seconds)
