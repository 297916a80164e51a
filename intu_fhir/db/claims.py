"""Which row of the queue is next, and who has it; ``db.work`` writes what came of it.

Only due rows are indexed, in the order in which they are taken: neither finished work nor work
that waits costs a claim anything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from intu_fhir.db.gates import pass_gate, read_gate
from intu_fhir.db.tables import deliveries, studies, work
from intu_fhir.model.destination import Gate
from intu_fhir.model.work import DELIVER, RUNNING, Claim

FRESH_SECONDS = 300
"""Work that has been due for longer is backlog, even where it was never tried."""

_TIME = work.c.updated_at.type
_OPEN_GATE = Gate()


def queue_of(step: str) -> Table:
    """Return the table that holds a step's rows."""
    return deliveries if step == DELIVER else work


def key_of(queue: Table) -> sa.Column[Any]:
    """Return the key of a table of the queue."""
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
    per_minute: float | None = None,
    backlog_first: bool = False,
) -> Claim | None:
    """Take the row that is next, or return None where nothing may be taken now.

    Fresh work is next before backlog, and within each the row that has been due longest.
    Nothing goes to a destination that is paused, and only one that probes to one that is down.

    Args:
        limit: how many rows of this lane may be held at once, over all workers.
        per_minute: how many may be begun within a minute, over all workers.
        backlog_first: take from the backlog, if there is any; who says so for a part of the
            claims keeps it from waiting for ever.
    """
    gate = _OPEN_GATE
    if step == DELIVER or limit is not None:
        _take_turn(connection, step, destination)
    if step == DELIVER:
        gate = read_gate(connection, destination)
        opens_at = gate.opens_at(now)
        if opens_at is None or opens_at > now:
            return None
    room = _room(connection, step, destination, now, gate.limit(limit))
    if not room:
        return None
    tries = [_next_fresh, _next_of_backlog] if room == _ALL else [_next_fresh, _next_old]
    for find in reversed(tries) if backlog_first else tries:
        if row := find(connection, step, destination, now):
            break
    else:
        return None
    lease_until = now + timedelta(seconds=lease_seconds)
    if step == DELIVER:
        pass_gate(
            connection, destination, gate, per_minute=per_minute, lease_until=lease_until, now=now
        )
    return _lease(connection, step, destination, row, holder, lease_until, now)


def _lease(
    connection: Connection,
    step: str,
    destination: str,
    row: Any,
    holder: str,
    lease_until: datetime,
    now: datetime,
) -> Claim:
    queue = queue_of(step)
    # A lease that ran out means a worker that died on it: that counts as a failed try.
    attempts = row["attempts"] + (1 if row["lease_holder"] else 0)
    connection.execute(
        sa.update(queue)
        .where(key_of(queue) == row["key"])
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
        backlog=row["backlog"],
    )


def _take_turn(connection: Connection, step: str, destination: str) -> None:
    """Let one claim of a lane follow another; on SQLite there is one writer anyway."""
    if connection.dialect.name == "postgresql":
        lane = sa.func.hashtext(f"{step}/{destination}")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lane)))


_ALL, _NOT_FAILED, _NONE = 2, 1, 0


def _room(
    connection: Connection, step: str, destination: str, now: datetime, limit: int | None
) -> int:
    """Say what there is room for: all, what has not failed before, or nothing.

    Work that failed before never takes the last place, so that a far side which hangs on one
    study goes on serving the others.
    """
    if limit is None:
        return _ALL
    queue = queue_of(step)
    failed = sa.func.coalesce(sa.func.sum(sa.case((queue.c.attempts > 0, 1), else_=0)), 0)
    counted = sa.select(sa.func.count(), failed).where(
        _lane(step, destination), queue.c.lease_until > now
    )
    held, held_failed = connection.execute(counted).one()
    if held >= limit:
        return _NONE
    return _NOT_FAILED if limit > 1 and held_failed >= limit - 1 else _ALL


def _next_fresh(connection: Connection, step: str, destination: str, now: datetime) -> Any:
    since = now - timedelta(seconds=FRESH_SECONDS)
    return _head(connection, step, destination, now, backlog=False, since=since)


def _next_old(connection: Connection, step: str, destination: str, now: datetime) -> Any:
    """Return what was never tried, though it has been due for long."""
    until = now - timedelta(seconds=FRESH_SECONDS)
    return _head(connection, step, destination, now, backlog=False, until=until)


def _next_of_backlog(connection: Connection, step: str, destination: str, now: datetime) -> Any:
    """Return what has been due longest of all that failed, was put back or waits for long."""
    rows = (
        _next_old(connection, step, destination, now),
        _head(connection, step, destination, now, backlog=True),
    )
    return min((row for row in rows if row), key=lambda row: row["due_at"], default=None)


def _head(
    connection: Connection,
    step: str,
    destination: str,
    now: datetime,
    *,
    backlog: bool,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Any:
    """Return the row of a part of the lane that has been due longest, and keep others off it."""
    return (
        connection.execute(head(step, destination, now, backlog=backlog, since=since, until=until))
        .mappings()
        .one_or_none()
    )


def head(
    step: str,
    destination: str,
    now: datetime,
    *,
    backlog: bool,
    since: datetime | None = None,
    until: datetime | None = None,
) -> sa.Select[Any]:
    """Ask for the row that has been due longest; the index gives it without a search."""
    queue = queue_of(step)
    begin = [] if since is None else [queue.c.due_at > since]
    return (
        sa.select(
            key_of(queue).label("key"),
            queue.c.study_key,
            studies.c.study_instance_uid,
            queue.c.want,
            queue.c.have,
            queue.c.due_at,
            queue.c.attempts,
            queue.c.fence,
            queue.c.lease_holder,
            queue.c.backlog,
        )
        .join(studies, studies.c.study_key == queue.c.study_key)
        .where(
            _lane(step, destination),
            queue.c.backlog == sa.literal(backlog),
            queue.c.due_at.is_not(None),
            queue.c.due_at <= (until or now),
            *begin,
            sa.or_(queue.c.lease_until.is_(None), queue.c.lease_until <= now),
        )
        .order_by(queue.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=queue)
    )


def next_due_at(
    connection: Connection,
    step: str,
    destination: str,
    now: datetime,
    *,
    limit: int | None = None,
) -> datetime | None:
    """Return when a row of a lane can next be claimed, or None where no one knows.

    Args:
        limit: as for ``claim``; where so many are held, the time when the first lease runs out,
            since another worker may give its row back at any time before.
    """
    opens_at, gate = now, _OPEN_GATE
    if step == DELIVER:
        gate = read_gate(connection, destination)
        opens = gate.opens_at(now)
        if opens is None:
            return None
        opens_at = opens
    due = min(filter(None, _due_times(connection, step, destination)), default=None)
    if due is None:
        return None
    allowed = gate.limit(limit)
    if allowed is not None and due <= now:
        due = _when_one_is_free(connection, step, destination, now, allowed) or due
    return max(due, opens_at)


def _due_times(connection: Connection, step: str, destination: str) -> list[datetime | None]:
    """Return when the first row of each part is due, and when the first lease runs out."""
    queue = queue_of(step)
    free, lane = queue.c.lease_until.is_(None), _lane(step, destination)
    heads = [
        sa.select(queue.c.due_at)
        .where(lane, queue.c.backlog == sa.literal(backlog), queue.c.due_at.is_not(None), free)
        .order_by(queue.c.due_at)
        .limit(1)
        for backlog in (False, True)
    ]
    leased = sa.select(sa.func.min(queue.c.lease_until, type_=_TIME)).where(
        lane, queue.c.lease_until.is_not(None), queue.c.due_at.is_not(None)
    )
    row = connection.execute(sa.select(*(one.scalar_subquery() for one in (*heads, leased)))).one()
    return list(row)


def _when_one_is_free(
    connection: Connection, step: str, destination: str, now: datetime, limit: int
) -> datetime | None:
    """Return when the first lease runs out where as many are held as may be."""
    queue = queue_of(step)
    held = sa.select(sa.func.count(), sa.func.min(queue.c.lease_until, type_=_TIME)).where(
        _lane(step, destination), queue.c.lease_until > now
    )
    number, first = connection.execute(held).one()
    return first if number >= limit else None
