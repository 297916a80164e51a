"""The queue: rows that workers claim, under a lease and a fencing number.

``want`` says what should be reached and ``have`` what was reached; ``due_at`` when to work
on it. Any number of new instances raises ``want`` once. A claim raises ``fence``; whoever
writes with an older one changes nothing, so an engine may kill or repeat work at will.

A wish may come while a worker has the row. One to go on makes it due again when the worker is done.
One to keep the study back (``held``, ``filtered``) is written at once, without a time: it outlives
whatever the worker has to say of the older wish.

An engine of any kind needs three things of this module: ``next_due_at`` says when to look again,
``claim`` takes one row or says that there is none now, and one of ``finish``, ``put_off`` and
``fail`` gives it back. A lane is drained when ``claim`` returns None.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from intu_fhir.db.claims import claim as claim
from intu_fhir.db.claims import next_due_at as next_due_at
from intu_fhir.db.lanes import key_of, queue_of
from intu_fhir.db.tables import work
from intu_fhir.db.upsert import insert
from intu_fhir.errors import StaleClaim
from intu_fhir.model.cause import cause_of
from intu_fhir.model.work import FILTERED, HELD, RETRYING, RUNNING, WAITING, Claim

_TIME = work.c.updated_at.type


def renew(connection: Connection, held: Claim, *, now: datetime, lease_seconds: float) -> None:
    """Lengthen the lease of work that takes long.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, lease_until=now + timedelta(seconds=lease_seconds))


NO_FAILURE: dict[str, Any] = {
    "first_failed_at": None,
    "last_failed_at": None,
    "last_error": "",
    "cause": "",
}
"""What a row says of failures where there are none."""


def finish(connection: Connection, held: Claim, *, state: str, now: datetime) -> None:
    """Record that ``want`` was reached; work that was asked for meanwhile stays due.

    Raises:
        StaleClaim: another worker has it now.
    """
    queue = queue_of(held.step)
    newer = _asked_again(queue, held)
    _write(
        connection,
        held,
        have=held.want,
        state=sa.case((_kept_back(queue), queue.c.state), (newer, WAITING), else_=state),
        due_at=sa.case((newer, queue.c.due_at), else_=None),
        attempts=0,
        updated_at=now,
        backlog=False,
        **NO_FAILURE,
        **_no_lease(),
    )


def _asked_again(queue: Table, held: Claim) -> sa.ColumnElement[bool]:
    """Whether more, or the same once more, was asked for since the claim, or nothing any more.

    Nothing but a wish changes when a row at work is due. Which time is later says nothing: who
    wished may have another clock, or the same one may have been set back.
    """
    more = queue.c.want > held.want
    return sa.or_(more, queue.c.due_at != held.due_at, _kept_back(queue))


def _kept_back(queue: Table) -> sa.ColumnElement[bool]:
    """Whether a wish since the claim keeps the study back; a row at work is ``running`` else."""
    return queue.c.state.in_((HELD, FILTERED))


def put_off(connection: Connection, held: Claim, *, until: datetime, now: datetime) -> None:
    """Give work back that is not ready; a newer wish keeps the time it asked for."""
    queue = queue_of(held.step)
    newer = _asked_again(queue, held)
    _write(
        connection,
        held,
        state=sa.case((_kept_back(queue), queue.c.state), else_=WAITING),
        due_at=sa.case((newer, queue.c.due_at), else_=until),
        updated_at=now,
        **_no_lease(),
    )


def fail(
    connection: Connection,
    held: Claim,
    *,
    state: str,
    error: str,
    due_at: datetime | None,
    now: datetime,
    counts: bool = True,
) -> bool:
    """Record a failed try; a newer wish is neither given up nor sent for what the older one met.

    Args:
        due_at: when to try again; None leaves it to a person.
        counts: False where the try says nothing about this study, and costs it no attempt.

    Returns:
        False where a newer wish took the place of what failed.

    Raises:
        StaleClaim: another worker has it now.
    """
    row = _row(connection, held)
    if row.kept_back or (row.newer and due_at is None):
        _write(
            connection,
            held,
            state=row.state if row.kept_back else WAITING,
            attempts=0,
            updated_at=now,
            **NO_FAILURE,
            **_no_lease(),
        )
        return False
    _write(
        connection,
        held,
        state=state,
        due_at=due_at,
        attempts=held.attempts + counts,
        backlog=True,
        last_failed_at=now,
        cause=cause_of(error),
        first_failed_at=sa.func.coalesce(
            queue_of(held.step).c.first_failed_at, sa.literal(now, _TIME)
        ),
        last_error=error,
        updated_at=now,
        **_no_lease(),
    )
    return True


def _no_lease() -> dict[str, Any]:
    return {"lease_holder": "", "lease_until": None}


def _row(connection: Connection, held: Claim) -> Any:
    """Return what a held row says now; nobody else writes to it until the transaction ends."""
    queue = queue_of(held.step)
    newer, kept_back = _asked_again(queue, held), _kept_back(queue)
    found = sa.select(queue.c.state, newer.label("newer"), kept_back.label("kept_back"))
    row = connection.execute(found.where(_is_held(held)).with_for_update()).one_or_none()
    if row is None:
        raise _stale(held)
    return row


def _write(connection: Connection, held: Claim, **values: Any) -> None:
    """Write to a held row, only while it is held."""
    written = connection.execute(
        sa.update(queue_of(held.step)).where(_is_held(held)).values(**values)
    )
    if written.rowcount != 1:
        raise _stale(held)


def _is_held(held: Claim) -> sa.ColumnElement[bool]:
    queue = queue_of(held.step)
    return sa.and_(
        key_of(queue) == held.key,
        queue.c.fence == held.fence,
        queue.c.lease_holder == held.holder,
    )


def _stale(held: Claim) -> StaleClaim:
    return StaleClaim(
        f"{held.step} of study {held.study_instance_uid} is held by another worker now; "
        "this worker's result is dropped"
    )


def want_step(
    connection: Connection,
    step: str,
    study_key: int,
    want: int,
    *,
    due_at: datetime,
    now: datetime,
    backlog: bool = False,
    trace_parent: str = "",
) -> None:
    """Ask for a step of a study before delivery.

    Args:
        trace_parent: span of who asks, where that is traced.
    """
    row = {
        "study_key": study_key,
        "step": step,
        "want": want,
        "state": WAITING,
        "due_at": due_at,
        "backlog": backlog,
        "updated_at": now,
        "trace_parent": trace_parent,
    }
    statement = insert(connection, work).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["study_key", "step"],
            set_=raised(work, statement.excluded, keep_backoff=False),
        )
    )


def counts(queue: Table, new: Any, *, again: bool) -> sa.ColumnElement[bool]:
    """Say whether a wish is newer than what a row wants, or takes its place.

    With ``again`` the same wish does, since its content may have changed. One that leaves out what
    was wanted does as long as it is not there.
    """
    same = new.want == queue.c.want
    left_out = sa.and_(new.state == FILTERED, queue.c.have < new.want)
    return sa.or_(new.want > queue.c.want, same if again else sa.and_(same, left_out))


def raised(
    queue: Table, new: Any, *, keep_backoff: bool, newer: sa.ColumnElement[bool] | None = None
) -> dict[str, Any]:
    """Return the SET of a conflict: a newer wish makes the row due again, or keeps it back.

    A leased row stays leased, its worker sees the newer wish when it finishes. With
    ``keep_backoff`` a row that waits for its next try goes on waiting, unless it is kept back.

    Args:
        newer: whether the wish counts; by default where it wants more.
    """
    newer = new.want > queue.c.want if newer is None else newer
    goes_on = new.state == WAITING
    leased = queue.c.lease_holder != ""
    backing_off = sa.and_(queue.c.state == RETRYING, goes_on) if keep_backoff else sa.false()
    as_it_is = sa.or_(~newer, backing_off)
    in_hand = sa.or_(as_it_is, leased)
    return {
        "want": sa.case((newer, new.want), else_=queue.c.want),
        "state": sa.case(
            (as_it_is, queue.c.state), (sa.and_(leased, goes_on), RUNNING), else_=new.state
        ),
        "due_at": sa.case((as_it_is, queue.c.due_at), else_=new.due_at),
        "attempts": sa.case((in_hand, queue.c.attempts), else_=0),
        "backlog": sa.case((in_hand, queue.c.backlog), else_=new.backlog),
        "updated_at": new.updated_at,
        "trace_parent": sa.case((newer, new.trace_parent), else_=queue.c.trace_parent),
    }
