"""When failed work is tried again."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.pipeline.retry import next_attempt_at
from intu_fhir.settings.schema import RetrySettings

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
POLICY = RetrySettings(first_seconds=5, max_seconds=3600, max_attempts=20)


def _wait(attempt: int, jitter: float = 1.0, retry_after: float | None = None) -> float:
    at = next_attempt_at(POLICY, attempt, NOW, jitter, retry_after)
    assert at is not None
    return (at - NOW).total_seconds()


def test_waits_double_up_to_the_longest() -> None:
    """The waits are 5, 10, 20 ... seconds and never above the cap."""
    assert [_wait(n) for n in (1, 2, 3)] == [5, 10, 20]
    assert _wait(15) == 3600


def test_attempts_end() -> None:
    """After the last attempt no time is given: the work is a dead letter."""
    assert next_attempt_at(POLICY, 20, NOW, 0.5) is None


def test_the_peers_wish_is_never_shortened() -> None:
    """Retry-After lengthens a wait, up to the cap."""
    assert _wait(1, retry_after=120) == 120
    assert _wait(1, retry_after=10**9) == 3600
    assert _wait(10, jitter=0.0, retry_after=1) == 5 * 2**9 / 2


@given(attempt=st.integers(1, 19), jitter=st.floats(0, 1))
def test_waits_stay_in_bounds(attempt: int, jitter: float) -> None:
    """Whatever chance says, a wait is at least half of its step and at most the cap."""
    full = min(5 * 2 ** (attempt - 1), 3600)
    assert full / 2 <= _wait(attempt, jitter) <= full + 1e-6
