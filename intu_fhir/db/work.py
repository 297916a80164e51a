"""The queue: rows that workers claim, under a lease and a fencing number.

``want`` says what should be reached and ``have`` what was reached; ``due_at`` when to work
on it. Any number of new instances raises ``want`` once. A claim raises ``fence``; whoever
writes with an older one changes nothing, so an engine may kill or repeat work at will.

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
from intu_fhir.model.work import RETRYING, WAITING, Claim

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
        state=sa.case((newer, WAITING), else_=state),
        due_at=sa.case((newer, queue.c.due_at), else_=None),
        attempts=0,
        updated_at=now,
        backlog=False,
        **NO_FAILURE,
        **_no_lease(),
    )


def _asked_again(queue: Table, held: Claim) -> sa.ColumnElement[bool]:
    """Whether more, or the same once more, was asked for since the claim."""
    return sa.or_(queue.c.want > held.want, queue.c.due_at > held.due_at)


def put_off(connection: Connection, held: Claim, *, until: datetime, now: datetime) -> None:
    """Give work back that is not ready; a newer wish keeps the time it asked for."""
    queue = queue_of(held.step)
    newer = _asked_again(queue, held)
    _write(
        connection,
        held,
        state=WAITING,
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
) -> None:
    """Record a failed try.

    Args:
        due_at: when to try again; None leaves it to a person.
        counts: False where the try says nothing about this study, and costs it no attempt.
    """
    queue = queue_of(held.step)
    _write(
        connection,
        held,
        state=state,
        due_at=due_at,
        attempts=held.attempts + counts,
        backlog=True,
        last_failed_at=now,
        cause=cause_of(error),
        first_failed_at=sa.func.coalesce(queue.c.first_failed_at, sa.literal(now, _TIME)),
        last_error=error,
        updated_at=now,
        **_no_lease(),
    )


def _no_lease() -> dict[str, Any]:
    return {"lease_holder": "", "lease_until": None}


def _write(connection: Connection, held: Claim, **values: Any) -> None:
    """Write to a held row, only while it is held."""
    queue = queue_of(held.step)
    written = connection.execute(
        sa.update(queue)
        .where(
            key_of(queue) == held.key,
            queue.c.fence == held.fence,
            queue.c.lease_holder == held.holder,
        )
        .values(**values)
    )
    if written.rowcount != 1:
        raise StaleClaim(
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


def raised(queue: Table, new: Any, *, keep_backoff: bool, again: bool = False) -> dict[str, Any]:
    """Return the SET of a conflict: a newer wish makes the row due again.

    A leased row stays leased, its worker sees the newer wish when it finishes. With
    ``keep_backoff`` a row that waits for its next try goes on waiting. With ``again`` the
    same wish makes the row due as well, since its content may have changed.
    """
    newer = new.want >= queue.c.want if again else new.want > queue.c.want
    leased = queue.c.lease_holder != ""
    backing_off = queue.c.state == RETRYING if keep_backoff else sa.false()
    as_it_is = sa.or_(~newer, leased, backing_off)
    return {
        "want": sa.case((newer, new.want), else_=queue.c.want),
        "state": sa.case((as_it_is, queue.c.state), else_=new.state),
        "due_at": sa.case((sa.or_(~newer, backing_off), queue.c.due_at), else_=new.due_at),
        "attempts": sa.case((as_it_is, queue.c.attempts), else_=0),
        "backlog": sa.case((as_it_is, queue.c.backlog), else_=new.backlog),
        "updated_at": new.updated_at,
        "trace_parent": sa.case((newer, new.trace_parent), else_=queue.c.trace_parent),
    }
