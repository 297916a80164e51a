"""Who takes which row of the queue, and when the next one may be taken.

``db.lanes`` says which row is next; ``db.work`` writes what came of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.gates import pass_gate, read_gate
from intu_fhir.db.lanes import LaneRows, Look, key_of
from intu_fhir.model.destination import Gate
from intu_fhir.model.work import DELIVER, RUNNING, Claim

_OPEN_GATE = Gate()
_ALL, _NEW, _NONE = 2, 1, 0


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

    What a worker died on is next, then fresh work, then backlog, and of these two the row that
    has been due longest.
    Nothing goes to a destination that is paused, and only one that probes to one that is down.

    Args:
        limit: how many rows of this lane may be held at once, over all workers.
        per_minute: how many may be begun within a minute, over all workers.
        backlog_first: take from the backlog, if there is any; who says so for a part of the
            claims keeps it from waiting for ever.
    """
    rows, gate = LaneRows(step, destination), _OPEN_GATE
    if step == DELIVER or limit is not None:
        _take_turn(connection, rows)
    if step == DELIVER:
        gate = read_gate(connection, destination)
        opens_at = gate.opens_at(now)
        if opens_at is None or opens_at > now:
            return None
    row = _next(Look(connection, rows, now), gate.limit(limit), backlog_first=backlog_first)
    if row is None:
        return None
    lease_until = now + timedelta(seconds=lease_seconds)
    if step == DELIVER:
        pass_gate(
            connection, destination, gate, per_minute=per_minute, lease_until=lease_until, now=now
        )
    claimed = _claimed(rows, row, holder, lease_until)
    _lease(connection, rows, claimed, now)
    return claimed


def _take_turn(connection: Connection, rows: LaneRows) -> None:
    """Let one claim of a lane follow another; on SQLite there is one writer anyway."""
    if connection.dialect.name == "postgresql":
        lane = sa.func.hashtext(f"{rows.step}/{rows.destination}")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lane)))


def _next(look: Look, limit: int | None, *, backlog_first: bool) -> Any:
    """Return the row to take, or None."""
    room = _room(look, limit)
    if not room:
        return None
    tries = [look.fresh, look.backlog if room == _ALL else look.old]
    if backlog_first:
        tries.reverse()
    if room == _ALL:  # it may be what its worker died of: as what failed, it takes no last place
        tries.insert(0, look.abandoned)
    for find in tries:
        if row := find():
            return row
    return None


def _room(look: Look, limit: int | None) -> int:
    """Say what there is room for: all, what is new, or nothing."""
    if limit is None:
        return _ALL
    held, again, _ = look.connection.execute(look.rows.held(look.now)).one()
    return _room_beside(held, again, limit)


def _room_beside(held: int, again: int, limit: int) -> int:
    """Say what there is room for beside what is held, some of it not for the first time.

    What failed before or was put back never takes the last place: a far side which hangs on one
    study goes on serving the others, and a new study finds a place however much is replayed.
    """
    if held >= limit:
        return _NONE
    return _NEW if limit > 1 and again >= limit - 1 else _ALL


def _claimed(rows: LaneRows, row: Any, holder: str, lease_until: datetime) -> Claim:
    return Claim(
        key=row["key"],
        study_key=row["study_key"],
        study_instance_uid=row["study_instance_uid"],
        step=rows.step,
        destination=rows.destination,
        want=row["want"],
        have=row["have"],
        due_at=row["due_at"],
        # A lease that ran out means a worker that died on it: that counts as a failed try.
        attempts=row["attempts"] + (1 if row["lease_holder"] else 0),
        fence=row["fence"] + 1,
        holder=holder,
        lease_until=lease_until,
        backlog=row["backlog"],
        trace_parent=row["trace_parent"],
    )


def _lease(connection: Connection, rows: LaneRows, claimed: Claim, now: datetime) -> None:
    """Write a claim to its row."""
    connection.execute(
        sa.update(rows.queue)
        .where(key_of(rows.queue) == claimed.key)
        .values(
            lease_holder=claimed.holder,
            lease_until=claimed.lease_until,
            fence=claimed.fence,
            attempts=claimed.attempts,
            state=RUNNING,
            updated_at=now,
        )
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
        limit: as for ``claim``; where it keeps back what is due, the time when the first lease
            runs out, since another worker may give its row back at any time before.
    """
    rows, opens_at, gate = LaneRows(step, destination), now, _OPEN_GATE
    if step == DELIVER:
        gate = read_gate(connection, destination)
        opens = gate.opens_at(now)
        if opens is None:
            return None
        opens_at = opens
    times: list[datetime | None] = list(connection.execute(rows.due_times()).one())
    due = min(filter(None, times), default=None)
    if due is None:
        return None
    allowed = gate.limit(limit)
    if allowed is not None and due <= now:
        due = _when_allowed(Look(connection, rows, now), allowed, due, fresh_due=times[0])
    return max(due, opens_at)


def _when_allowed(look: Look, limit: int, due: datetime, fresh_due: datetime | None) -> datetime:
    """Return when what is due may be taken: who is told now, and gets nothing, asks on and on."""
    held, again, first_end = look.connection.execute(look.rows.held(look.now)).one()
    room = _room_beside(held, again, limit)
    if room == _ALL:
        return due
    fresh = fresh_due if room == _NEW else None
    return min(filter(None, (fresh, first_end)), default=due)
