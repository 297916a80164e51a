"""The only loop body: claim one piece of work, run it, record what came of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

import structlog

from intu_fhir.db import work
from intu_fhir.db.session import Database
from intu_fhir.db.studies import traces_of
from intu_fhir.errors import Deadlocked, PermanentError, StaleClaim, TransientError
from intu_fhir.model.cause import cause_of
from intu_fhir.model.outcome import Dead, DeliveryOutcome, Hold, Retry
from intu_fhir.model.work import (
    AGGREGATE,
    BUILD,
    DEAD,
    DELIVER,
    HELD,
    RETRYING,
    Claim,
    Finished,
    Follows,
    NotYet,
)
from intu_fhir.model.work import Lane as Lane
from intu_fhir.observe.clock import Clock
from intu_fhir.observe.tracing import NO_TRACING, Span, Tracing
from intu_fhir.pipeline.record import Recorder
from intu_fhir.settings.schema import RetrySettings

log = structlog.get_logger("intu_fhir.pipeline")

StepResult: TypeAlias = Finished | NotYet | Follows | DeliveryOutcome
StepFunction: TypeAlias = Callable[[Claim], StepResult]

BACKLOG_SHARE = 0.25
"""Part of the claims that look at the backlog first, so that it does not wait for ever."""


@dataclass(frozen=True)
class Runner:
    """Runs the work of the queue; any number of threads and processes may share one queue.

    Args:
        functions: what a lane does, by (step, destination).
        holder: names this process in leases.
    """

    database: Database
    clock: Clock
    functions: Mapping[tuple[str, str], StepFunction]
    recorder: Recorder
    retry: RetrySettings
    holder: str
    lease_seconds: float
    tracing: Tracing = NO_TRACING
    chance: Callable[[], float] = field(default=random.random)

    def run_one(self, lane: Lane) -> bool:
        """Do the piece of work of a lane that has been due longest; False where there is none."""
        return self.guard(lane.step, lambda: self._claim_and_run(lane))

    def guard(self, what: str, do_some: Callable[[], bool]) -> bool:
        """Do some work; whatever happens in it, the worker lives on and looks again later."""
        try:
            return do_some()
        except TransientError as error:
            log.warning("worker_waits", step=what, reason=str(error))
        except Exception as error:  # noqa: BLE001  (one of the three places that catch everything)
            log.error("worker_failed", step=what, error=type(error).__name__, where=_where(error))
        return False

    def _claim_and_run(self, lane: Lane) -> bool:
        # Looking is cheap and disturbs nobody; claiming takes the database's turn to write.
        if self.seconds_until_due(lane) != 0:
            return False
        with self.database.write() as connection:
            claim = work.claim(
                connection,
                lane.step,
                lane.destination,
                holder=self.holder,
                now=self.clock.now(),
                lease_seconds=self.lease_seconds,
                limit=lane.limit,
                per_minute=lane.per_minute,
                backlog_first=self.chance() < BACKLOG_SHARE,
            )
        if claim is None:
            return False
        started_at = self.clock.now()
        self._record(claim, self._run(claim), started_at)
        return True

    def _begin(self, claim: Claim, result: StepResult, started_at: datetime) -> Span | None:
        """Trace a step that came to something: below what asked for it, or what brought it."""
        if not self.tracing.is_on or isinstance(result, NotYet):
            return None
        parents = [claim.trace_parent] if claim.trace_parent else []
        if claim.step == AGGREGATE:
            with self.database.read() as connection:
                parents = traces_of(connection, claim.study_key)
        return self.tracing.begin(
            SPANS[claim.step],
            parent=parents[0] if parents else "",
            links=parents[1:],
            at=started_at,
            step=claim.step,
            study=claim.study_instance_uid,
            destination=claim.destination,
            attempt=claim.attempts + 1,
        )

    def seconds_until_due(self, lane: Lane) -> float | None:
        """Return how long until the lane has something to do, or None where nothing waits."""
        with self.database.read() as connection:
            due_at = work.next_due_at(
                connection, lane.step, lane.destination, self.clock.now(), limit=lane.limit
            )
        if due_at is None:
            return None
        return max((due_at - self.clock.now()).total_seconds(), 0.0)

    def _run(self, claim: Claim) -> StepResult:
        if claim.attempts >= self.retry.max_attempts:
            return Dead(detail="The worker died on it every time; look at the log, then replay")
        try:
            return self.functions[claim.step, claim.destination](claim)
        except TransientError as error:
            return Retry(detail=str(error))
        except PermanentError as error:
            return Dead(detail=str(error))
        except Exception as error:  # noqa: BLE001  (a failed step is recorded, not lost)
            log.error(
                "step_failed",
                step=claim.step,
                study=claim.study_instance_uid,
                error=type(error).__name__,
                where=_where(error),
            )
            return Retry(detail=f"internal error {type(error).__name__} at {_where(error)}")

    def _record(self, claim: Claim, result: StepResult, started_at: datetime) -> None:
        span = self._begin(claim, result, started_at)
        trace_parent = span.trace_parent if span else ""
        try:
            try:
                state = self._written(claim, result, started_at, trace_parent)
            except Deadlocked:  # all of it was undone: what was done is not forgotten for that
                state = self._written(claim, result, started_at, trace_parent)
        except StaleClaim as error:
            log.warning(
                "work_lost", step=claim.step, study=claim.study_instance_uid, reason=str(error)
            )
            return
        if span is not None:
            span.end(
                is_well=state not in _FAILED,
                result=state,
                generation=result.generation if isinstance(result, Finished) else claim.want,
                **answer_of(result),
            )
        if not isinstance(result, NotYet | Follows):
            _log_result(claim, result, state)

    def _written(
        self, claim: Claim, result: StepResult, started_at: datetime, trace_parent: str
    ) -> str:
        """Write a result and end the lease; return the state of the row."""
        with self.database.write() as connection:
            return self.recorder.record(
                connection,
                claim,
                result,
                started_at,
                self.clock.now(),
                self.chance(),
                trace_parent=trace_parent,
            )


SPANS = {AGGREGATE: "settle study", BUILD: "build resources", DELIVER: "deliver study"}
"""What the span of a step is called."""

_FAILED = frozenset({DEAD, HELD, RETRYING})
_HTTP = re.compile(r"(?:HTTP )?([1-5]\d\d)", re.ASCII)


def answer_of(result: StepResult) -> dict[str, str | int]:
    """Return what a destination answered, as attributes of a span; HTTP as a number of its own."""
    status = str(getattr(result, "status", ""))
    http = _HTTP.fullmatch(status)
    return {"status": status, **({"http_status": int(http[1])} if http else {})}


def _where(error: BaseException) -> str:
    """Name file and line of an error, without its text, which may hold patient data."""
    trace = error.__traceback__
    if trace is None:
        return "?"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"


def _reason(result: StepResult) -> str:
    """Say why a step failed, in our own words: those of a far side may name a patient."""
    if isinstance(result, Hold):
        return result.code
    return cause_of(result.detail) if isinstance(result, Retry | Dead) else ""


def _log_result(claim: Claim, result: StepResult, state: str) -> None:
    """One line for a step's end; what needs a person now is a warning of its own."""
    fields = {
        "step": claim.step,
        "study": claim.study_instance_uid,
        "destination": claim.destination,
        "result": state,
        "generation": result.generation if isinstance(result, Finished) else claim.want,
        "status": getattr(result, "status", ""),
        "reason": _reason(result),
    }
    if state in {DEAD, HELD}:
        log.warning("work_needs_person", **fields)
    else:
        log.info("work_done", **fields)
