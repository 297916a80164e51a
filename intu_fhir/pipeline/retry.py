"""When failed work is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta

from intu_fhir.settings.schema import RetrySettings


def next_attempt_at(
    policy: RetrySettings,
    attempt: int,
    now: datetime,
    jitter: float,
    retry_after: float | None = None,
) -> datetime | None:
    """Return when to try again, or None where the attempts are used up.

    The wait doubles with each attempt up to ``max_seconds``; half of it is chance, so that
    many that failed together do not come back together.

    Args:
        attempt: failed attempts so far, this one included, from 1.
        jitter: a random number from 0 to 1.
        retry_after: seconds that the peer asked for; never shortened, capped at ``max_seconds``.
    """
    if attempt >= policy.max_attempts:
        return None
    return _after_wait(policy, attempt, now, jitter, retry_after)


def uncounted_attempt_at(
    policy: RetrySettings,
    attempts: int,
    now: datetime,
    jitter: float,
    retry_after: float | None = None,
) -> datetime:
    """Return when to try again after a try that costs no attempt, since nobody answers anyway.

    Args:
        attempts: failed attempts so far, without this one.
    """
    return _after_wait(policy, attempts + 1, now, jitter, retry_after)


def _after_wait(
    policy: RetrySettings, attempt: int, now: datetime, jitter: float, retry_after: float | None
) -> datetime:
    doubled = policy.first_seconds * 2 ** min(attempt - 1, 30)
    wait = min(doubled, policy.max_seconds) * (0.5 + 0.5 * jitter)
    if retry_after is not None:
        wait = max(wait, min(retry_after, policy.max_seconds))
    return now + timedelta(seconds=wait)
