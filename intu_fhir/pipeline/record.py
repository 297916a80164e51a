"""Writes what came of a piece of work, and asks for what follows, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from intu_fhir.db import work
from intu_fhir.db.archive_commitments import plan as plan_commitment
from intu_fhir.db.audit_work import audit_delivery
from intu_fhir.db.deliveries import record_attempt, want_delivery
from intu_fhir.db.following import follow, let_followers_go, note_reason
from intu_fhir.db.holds import close_holds, hold_delivery, is_held, lock_study
from intu_fhir.model.outcome import Attempt, Dead, Delivered, Hold, Retry
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.work import (
    BUILD,
    DEAD,
    DELIVER,
    HELD,
    RETRYING,
    WAITING,
    Claim,
    DeliveryWish,
    Finished,
    Follows,
    NotYet,
)
from intu_fhir.pipeline.breaker import Breakers
from intu_fhir.pipeline.retry import next_attempt_at, uncounted_attempt_at
from intu_fhir.pipeline.steps import STEPS
from intu_fhir.settings.schema import RetrySettings

_ERROR_LENGTH = 2_000
_LATER = "; it is tried again by itself"
"""What a step says of a failure that may pass, and what does not hold for the last try."""


@dataclass(frozen=True)
class Recorder:
    """Turns the result of a step into rows.

    Args:
        archives: names of the destinations that get images.
        commitments: by the name of such a one that is asked to promise that it keeps them, most
            instances of one request.
    """

    retry: RetrySettings
    archives: Collection[str] = ()
    breakers: Breakers = field(default_factory=Breakers)
    commitments: Mapping[str, int] = field(default_factory=dict)

    def record(
        self,
        connection: Any,
        claim: Claim,
        result: Finished | NotYet | Follows | Delivered | Retry | Dead | Hold,
        started_at: datetime,
        now: datetime,
        jitter: float,
        trace_parent: str = "",
    ) -> str:
        """Write the result and ask for the step that follows; return the state of its row.

        Args:
            trace_parent: span of the work, for what follows.

        Raises:
            StaleClaim: another worker has the work now; nothing is written.
        """
        if claim.step == DELIVER and not isinstance(result, NotYet | Follows | Finished):
            if isinstance(result, Delivered | Hold):
                # Who follows looks at it in its turn; and who holds a study takes it before its
                # delivery, as those who build and release do.
                lock_study(connection, claim.study_key)
            record_attempt(connection, claim, Attempt(started_at, now, result))
        else:
            # The receiver, too, takes a study before its work: nobody waits in a circle.
            lock_study(connection, claim.study_key)
        if claim.step == DELIVER:
            note_reason(connection, claim, getattr(result, "reason", ""))
        if isinstance(result, NotYet | Follows):
            return self._waits(connection, claim, result, started_at, now, jitter)
        if isinstance(result, Finished):
            self._finished(connection, claim, result, now, trace_parent)
            return STEPS[claim.step].done
        state = self._ended(connection, claim, result, now, jitter)
        if claim.step == DELIVER:
            self._audit(connection, claim, result, state, now)
        return state

    def _audit(
        self,
        connection: Any,
        claim: Claim,
        result: Delivered | Retry | Dead | Hold,
        state: str,
        now: datetime,
    ) -> None:
        to_archive = claim.destination in self.archives
        audit_delivery(connection, claim, result, state=state, to_archive=to_archive, now=now)

    def _waits(
        self,
        connection: Any,
        claim: Claim,
        result: NotYet | Follows,
        started_at: datetime,
        now: datetime,
        jitter: float,
    ) -> str:
        """Put back what waits for something else; as a probe it may have asked nobody."""
        announced = result.announced if isinstance(result, Follows) else None
        if announced:
            record_attempt(connection, claim, Attempt(started_at, now, announced))
            self._audit(connection, claim, announced, WAITING, now)
        until = result.until if isinstance(result, NotYet) else now
        work.put_off(connection, claim, until=until, now=now)
        if isinstance(result, Follows):
            follow(connection, claim, result)
        if claim.step == DELIVER:
            told = announced or Delivered(unchanged=True)
            self.breakers.note(connection, claim.destination, told, now, jitter)
        return WAITING

    def _ended(
        self,
        connection: Any,
        claim: Claim,
        result: Delivered | Retry | Dead | Hold,
        now: datetime,
        jitter: float,
    ) -> str:
        down = claim.step == DELIVER and self.breakers.note(
            connection, claim.destination, result, now, jitter
        )
        if isinstance(result, Delivered):
            work.finish(connection, claim, state=STEPS[claim.step].done, now=now)
            if most := self.commitments.get(claim.destination):
                plan_commitment(connection, claim.key, max_instances=most, now=now)
            let_followers_go(connection, claim.study_key, claim.destination, now=now)
            return STEPS[claim.step].done
        if down and isinstance(result, Retry) and result.silent:
            return self._unheard(connection, claim, result, now, jitter)
        return self._failed(connection, claim, result, now, jitter)

    def _unheard(
        self, connection: Any, claim: Claim, result: Retry, now: datetime, jitter: float
    ) -> str:
        """Put back what nobody has heard of: that the destination is down is not its fault."""
        due_at = uncounted_attempt_at(self.retry, claim.attempts, now, jitter, result.retry_after)
        error = result.detail[:_ERROR_LENGTH]
        work.fail(
            connection, claim, state=RETRYING, error=error, due_at=due_at, now=now, counts=False
        )
        return RETRYING

    def _finished(
        self, connection: Any, claim: Claim, result: Finished, now: datetime, trace_parent: str
    ) -> None:
        # The lease is given back before anything is written: where it is lost, nothing is.
        work.finish(connection, claim, state=STEPS[claim.step].done, now=now)
        result.record(connection)
        if STEPS[claim.step].next == BUILD:
            work.want_step(
                connection,
                BUILD,
                claim.study_key,
                result.generation,
                due_at=now,
                now=now,
                backlog=claim.backlog,
                trace_parent=trace_parent,
            )
        held = is_held(connection, claim.study_key)
        for destination in sorted(result.deliveries):  # the order of who puts them back
            wish = result.deliveries[destination]
            if held and wish.state == WAITING:
                wish = replace(wish, state=HELD)
            self._want(connection, claim, destination, result.generation, wish, now, trace_parent)

    @staticmethod
    def _want(
        connection: Any,
        claim: Claim,
        destination: str,
        generation: int,
        wish: DeliveryWish,
        now: datetime,
        trace_parent: str,
    ) -> None:
        study_key = claim.study_key
        want_delivery(
            connection,
            study_key,
            destination,
            generation,
            wish=wish,
            now=now,
            backlog=claim.backlog,
            trace_parent=trace_parent,
        )
        if wish.hold:
            hold_delivery(
                connection, study_key, destination, wish.hold, generation=generation, now=now
            )
        else:
            # Those were about what was built before; what holds the whole study goes on.
            close_holds(connection, study_key, destination=destination, by="build", now=now)

    def _failed(
        self,
        connection: Any,
        claim: Claim,
        result: Retry | Dead | Hold,
        now: datetime,
        jitter: float,
    ) -> str:
        error = result.detail[:_ERROR_LENGTH]
        due_at = None
        state = HELD if isinstance(result, Hold) else DEAD
        if isinstance(result, Retry):
            due_at = next_attempt_at(
                self.retry, claim.attempts + 1, now, jitter, result.retry_after
            )
            state = RETRYING if due_at else DEAD
            if not due_at:
                error = f"{error.removesuffix(_LATER)}; given up after {claim.attempts + 1} tries"
        if not work.fail(connection, claim, state=state, error=error, due_at=due_at, now=now):
            return WAITING
        if isinstance(result, Hold):
            hold_delivery(
                connection,
                claim.study_key,
                claim.destination,
                StudyHold(result.code, result.detail),
                generation=claim.want,
                now=now,
            )
        return state
