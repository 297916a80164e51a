"""The queue: rows that workers claim, under a lease and a fencing number.

``want`` says what should be reached and ``have`` what was reached; ``due_at`` when to work
on it. Any number of new instances raises ``want`` once. A claim raises ``fence``; whoever
writes with an older one changes nothing, so an engine may kill or repeat work at will.
Only due rows are indexed: finished work costs a claim nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from intu_fhir.db.destinations import is_paused
from intu_fhir.db.tables import deliveries, studies, work
from intu_fhir.db.upsert import insert
from intu_fhir.errors import StaleClaim
from intu_fhir.model.work import DELIVER, RETRYING, RUNNING, WAITING, Claim

_TIME = work.c.updated_at.type


def _queue(step: str) -> Table:
    return deliveries if step == DELIVER else work


def _key(queue: Table) -> sa.Column[Any]:
    return queue.c.delivery_key if queue is deliveries else queue.c.work_key


def _lane(step: str, destination: str) -> sa.ColumnElement[bool]:
    """The rows one kind of worker looks at."""
    if step == DELIVER:
        return deliveries.c.destination == destination
    return work.c.step == step


def claim(
    connection: Connection,
    step: str,
    destination: str,
    *,
    holder: str,
    now: datetime,
    lease_seconds: float,
    limit: int | None = None,
) -> Claim | None:
    """Take the row that has been due longest, or return None where nothing is due.

    Args:
        limit: how many rows of this lane may be held at once, over all workers.
    """
    queue = _queue(step)
    if step == DELIVER and is_paused(connection, destination):
        return None
    if limit is not None and _held(connection, step, destination, now) >= limit:
        return None
    row = connection.execute(_next_due(queue, step, destination, now)).mappings().one_or_none()
    if row is None:
        return None
    lease_until = now + timedelta(seconds=lease_seconds)
    # A lease that ran out means a worker that died on it: that counts as a failed try.
    attempts = row["attempts"] + (1 if row["lease_holder"] else 0)
    connection.execute(
        sa.update(queue)
        .where(_key(queue) == row["key"])
        .values(
            lease_holder=holder,
            lease_until=lease_until,
            fence=row["fence"] + 1,
            attempts=attempts,
            state=RUNNING,
            updated_at=now,
        )
    )
    return Claim(
        key=row["key"],
        study_key=row["study_key"],
        study_instance_uid=row["study_instance_uid"],
        step=step,
        destination=destination,
        want=row["want"],
        have=row["have"],
        due_at=row["due_at"],
        attempts=attempts,
        fence=row["fence"] + 1,
        holder=holder,
        lease_until=lease_until,
    )


def _held(connection: Connection, step: str, destination: str, now: datetime) -> int:
    """Count the leases of a lane; on PostgreSQL counting takes the lane's turn first."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"{step}/{destination}")))
        )
    queue = _queue(step)
    counted = sa.select(sa.func.count()).where(
        _lane(step, destination), queue.c.due_at.is_not(None), queue.c.lease_until > now
    )
    return int(connection.execute(counted).scalar_one())


def _next_due(queue: Table, step: str, destination: str, now: datetime) -> sa.Select[Any]:
    return (
        sa.select(
            _key(queue).label("key"),
            queue.c.study_key,
            studies.c.study_instance_uid,
            queue.c.want,
            queue.c.have,
            queue.c.due_at,
            queue.c.attempts,
            queue.c.fence,
            queue.c.lease_holder,
        )
        .join(studies, studies.c.study_key == queue.c.study_key)
        .where(
            _lane(step, destination),
            queue.c.due_at.is_not(None),
            queue.c.due_at <= now,
            sa.or_(queue.c.lease_until.is_(None), queue.c.lease_until <= now),
        )
        .order_by(queue.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=queue)
    )


def next_due_at(
    connection: Connection, step: str, destination: str, now: datetime
) -> datetime | None:
    """Return when the next row of a lane can be claimed, or None where there is none."""
    if step == DELIVER and is_paused(connection, destination):
        return None
    queue = _queue(step)
    leased = queue.c.lease_until > now
    free_at = sa.case((leased, queue.c.lease_until), else_=queue.c.due_at)
    found = sa.select(sa.func.min(free_at, type_=_TIME)).where(
        _lane(step, destination), queue.c.due_at.is_not(None)
    )
    due: datetime | None = connection.execute(found).scalar_one()
    return due


def renew(connection: Connection, held: Claim, *, now: datetime, lease_seconds: float) -> None:
    """Lengthen the lease of work that takes long.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, lease_until=now + timedelta(seconds=lease_seconds))


def finish(connection: Connection, held: Claim, *, state: str, now: datetime) -> None:
    """Record that ``want`` was reached; work that was asked for meanwhile stays due.

    Raises:
        StaleClaim: another worker has it now.
    """
    queue = _queue(held.step)
    newer = _asked_again(queue, held)
    _write(
        connection,
        held,
        have=held.want,
        state=sa.case((newer, WAITING), else_=state),
        due_at=sa.case((newer, queue.c.due_at), else_=None),
        attempts=0,
        first_failed_at=None,
        last_error="",
        updated_at=now,
        **_no_lease(),
    )


def _asked_again(queue: Table, held: Claim) -> sa.ColumnElement[bool]:
    """Whether more, or the same once more, was asked for since the claim."""
    return sa.or_(queue.c.want > held.want, queue.c.due_at > held.due_at)


def put_off(connection: Connection, held: Claim, *, until: datetime, now: datetime) -> None:
    """Give work back that is not ready; a newer wish keeps the time it asked for."""
    queue = _queue(held.step)
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
) -> None:
    """Record a failed try; ``due_at`` None leaves it to a person."""
    queue = _queue(held.step)
    _write(
        connection,
        held,
        state=state,
        due_at=due_at,
        attempts=held.attempts + 1,
        first_failed_at=sa.func.coalesce(queue.c.first_failed_at, sa.literal(now, _TIME)),
        last_error=error,
        updated_at=now,
        **_no_lease(),
    )


def _no_lease() -> dict[str, Any]:
    return {"lease_holder": "", "lease_until": None}


def _write(connection: Connection, held: Claim, **values: Any) -> None:
    """Write to a held row, only while it is held."""
    queue = _queue(held.step)
    written = connection.execute(
        sa.update(queue)
        .where(
            _key(queue) == held.key,
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
) -> None:
    """Ask for a step of a study before delivery."""
    row = {
        "study_key": study_key,
        "step": step,
        "want": want,
        "state": WAITING,
        "due_at": due_at,
        "updated_at": now,
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
        "updated_at": new.updated_at,
    }
