"""The breaker of a destination: who does not answer is left in peace, and tried now and then.

After ``breaker.failures`` deliveries in a row that did not reach it, a destination counts as down:
nothing goes to it but one delivery at a time that probes. A probe that fails costs its study no
attempt. Once one is answered, as many may be on their way as have been answered since, up to what
is configured: a server that comes back is not met by all that has waited.

A destination that asks for fewer requests (429, or 503 with Retry-After) is left alone as a whole
for so long. That it can say so does not make it well: no breaker closes by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from intu_fhir.db.gates import hold_back, lock_state, read_gate, store_state
from intu_fhir.model.destination import CLOSED, HALF_OPEN, OPEN, BreakerState
from intu_fhir.model.outcome import Delivered, DeliveryOutcome, Hold, Retry
from intu_fhir.settings.schema import BreakerSettings, Destination

log = structlog.get_logger("intu_fhir.pipeline")


def after_answer(state: BreakerState, limit: int) -> BreakerState:
    """Return the state after the destination has answered.

    Args:
        limit: how many studies may be on their way to it at the same time.
    """
    if state.breaker == CLOSED:
        return BreakerState()
    allowed = 1 if state.breaker == OPEN else (state.allowed or 1) + 1
    if state.breaker == HALF_OPEN and allowed > limit:
        return BreakerState()
    return replace(
        state, breaker=HALF_OPEN, silences=0, next_probe_at=None, allowed=allowed, last_error=""
    )


def after_silence(
    state: BreakerState,
    policy: BreakerSettings,
    error: str,
    now: datetime,
    jitter: float,
    retry_after: float | None = None,
) -> BreakerState:
    """Return the state after a delivery did not reach the destination.

    The wait before the next probe doubles with each, up to ``max_seconds``; half of it is chance.

    Args:
        jitter: a random number from 0 to 1.
        retry_after: seconds that the peer asked for, capped at ``max_seconds``.
    """
    silences = state.silences + 1
    if state.breaker == CLOSED and silences < policy.failures:
        return replace(state, silences=silences, last_error=error)
    doubled = policy.first_seconds * 2 ** min(state.probes, 30)
    wait = min(doubled, policy.max_seconds) * (0.5 + 0.5 * jitter)
    wait = max(wait, min(retry_after or 0.0, policy.max_seconds))
    return replace(
        state,
        breaker=OPEN,
        silences=silences,
        opened_at=state.opened_at or now,
        next_probe_at=now + timedelta(seconds=wait),
        allowed=None,
        last_error=error,
    )


def pause_seconds(
    outcome: DeliveryOutcome, policy: BreakerSettings, longest: float
) -> float | None:
    """Return for how long a destination as a whole is left alone as it asks; None = not at all.

    Args:
        longest: more than that nobody waits, whatever it asks for.
    """
    if not isinstance(outcome, Retry) or not outcome.pauses:
        return None
    asked = outcome.retry_after
    return min(policy.first_seconds if asked is None else asked, longest)


def after_nothing(state: BreakerState, now: datetime) -> BreakerState:
    """Return the state after a delivery that asked nobody: the next one may probe at once.

    It took the place of a probe, so it is taken back from their number: the wait does not grow.
    """
    if state.breaker != OPEN:
        return state
    return replace(state, next_probe_at=now, probes=max(state.probes - 1, 0))


def tells_nothing(outcome: DeliveryOutcome) -> bool:
    """Say whether an outcome leaves open if the destination can take a study.

    It may not have been asked, or its answer is that it takes none now.
    """
    if isinstance(outcome, Delivered):
        return outcome.unchanged
    if isinstance(outcome, Retry) and outcome.pauses:
        return True
    return isinstance(outcome, Hold) or not (is_silence(outcome) or outcome.status)


def is_silence(outcome: DeliveryOutcome) -> bool:
    """Say whether a destination as a whole was not reached."""
    return isinstance(outcome, Retry) and outcome.silent


@dataclass(frozen=True)
class Breakers:
    """Keeps the breakers of all destinations.

    Args:
        destinations: the configured ones by name; any other one has no breaker.
        longest_pause: seconds that a destination may ask for.
    """

    destinations: Mapping[str, Destination] = field(default_factory=dict)
    longest_pause: float = 3_600.0

    def note(
        self,
        connection: Any,
        name: str,
        outcome: DeliveryOutcome,
        now: datetime,
        jitter: float,
    ) -> bool:
        """Learn from the end of a delivery; return whether the destination counts as down."""
        destination = self.destinations.get(name)
        if destination is None:
            return False
        self._pause(connection, name, destination, outcome, now)
        if not is_silence(outcome) and read_gate(connection, name).state == BreakerState():
            return False
        before = lock_state(connection, name, now)
        after = self._after(before, destination, outcome, now, jitter)
        if after != before:
            store_state(connection, name, after, now)
            _tell(name, before, after)
        return after.breaker == OPEN

    def _pause(
        self,
        connection: Any,
        name: str,
        destination: Destination,
        outcome: DeliveryOutcome,
        now: datetime,
    ) -> None:
        """Let no other study go where the destination wants none for a while."""
        seconds = pause_seconds(outcome, destination.breaker, self.longest_pause)
        if seconds is not None:
            hold_back(connection, name, now + timedelta(seconds=seconds), now)
            status = outcome.status if isinstance(outcome, Retry) else ""
            log.warning(
                "destination_asks_to_wait", destination=name, status=status, duration=seconds
            )

    @staticmethod
    def _after(
        before: BreakerState,
        destination: Destination,
        outcome: DeliveryOutcome,
        now: datetime,
        jitter: float,
    ) -> BreakerState:
        if isinstance(outcome, Retry) and outcome.silent:
            policy, asked = destination.breaker, outcome.retry_after
            return after_silence(before, policy, outcome.detail[:500], now, jitter, asked)
        if not tells_nothing(outcome):
            return after_answer(before, destination.limit)
        return after_nothing(before, now)


def _tell(name: str, before: BreakerState, after: BreakerState) -> None:
    """One line where a destination goes down, answers again, and is well."""
    if before.breaker == after.breaker:
        return
    if after.breaker == OPEN:
        log.warning("destination_down", destination=name, reason=after.last_error)
    elif after.breaker == HALF_OPEN:
        log.info("destination_answers", destination=name, attempt=before.probes)
    else:
        log.info("destination_up", destination=name)
