"""Queues that break their promise on purpose: a proof that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from intu_fhir.db import claims, gates, lanes, work
from intu_fhir.model.destination import BreakerState
from intu_fhir.pipeline import breaker, runner

NO_FENCE, NO_LEASE, NO_LIMIT = "no-fence", "no-lease", "no-limit"
NO_RATE, NO_RAMP, NO_BREAKER = "no-rate", "no-ramp", "no-breaker"
BACKLOG_FIRST, ANY_PLACE = "backlog-first", "any-place"


def _no_fence() -> None:
    """Let whoever comes late write all the same."""

    def write(connection: Any, held: Any, **values: Any) -> None:
        queue = lanes.queue_of(held.step)
        row = lanes.key_of(queue) == held.key
        connection.execute(sa.update(queue).where(row).values(**values))

    work.__dict__["_write"] = write


def _no_lease() -> None:
    """Let a claim end at once, as if nobody held it."""
    lease = claims.__dict__["_lease"]

    def forget(connection: Any, rows: Any, claimed: Any, now: Any) -> None:
        lease(connection, rows, claimed, now)
        row = lanes.key_of(rows.queue) == claimed.key
        connection.execute(sa.update(rows.queue).where(row).values(lease_until=None))

    claims.__dict__["_lease"] = forget


def _no_limit() -> None:
    """Let a lane have any number on its way."""
    claims.__dict__["_room"] = lambda *_: claims.__dict__["_ALL"]


def _any_place() -> None:
    """Let what failed before take the last place, too."""
    room = claims.__dict__["_room"]
    claims.__dict__["_room"] = lambda *given: room(*given) and claims.__dict__["_ALL"]


def _no_rate() -> None:
    """Keep no time at which the next one may go."""
    gates.__dict__["_next_free"] = lambda free_at, per_minute, now: now


def _no_ramp() -> None:
    """Let everything go as soon as a destination answers."""
    breaker.__dict__["after_answer"] = lambda state, limit: BreakerState()


def _no_breaker() -> None:
    """Never count a destination as down."""
    breaker.__dict__["after_silence"] = lambda state, *_, **__: state


def _backlog_first() -> None:
    """Let what failed or was put back go before fresh work, to the last place too."""
    runner.__dict__["BACKLOG_SHARE"] = 2.0
    _any_place()


QUEUE_MUTANTS: Mapping[str, Callable[[], None]] = {
    NO_FENCE: _no_fence,
    NO_LEASE: _no_lease,
    NO_LIMIT: _no_limit,
    NO_RATE: _no_rate,
    NO_RAMP: _no_ramp,
    NO_BREAKER: _no_breaker,
    BACKLOG_FIRST: _backlog_first,
    ANY_PLACE: _any_place,
}


def break_queue(mutant: str) -> None:
    """Take one safeguard out of this process, for good."""
    if mutant:
        QUEUE_MUTANTS[mutant]()
