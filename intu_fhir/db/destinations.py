"""Destinations as a whole: what waits for each, whether it answers, and who has paused it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.conditions import given
from intu_fhir.db.kept_back import state_of
from intu_fhir.db.tables import deliveries, destination_states
from intu_fhir.db.upsert import insert
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.destination import CLOSED, FAILING, UP
from intu_fhir.model.work import DEAD, HELD, LACKING, RETRYING, RUNNING, WAITING

_AN_HOUR = timedelta(hours=1)
_NAME = 64


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """One destination, for people to look at.

    Args:
        state: ``up``, ``paused``, ``down`` (its breaker is open), ``recovering``, or ``later``: it
            has asked to be left alone until ``free_at``.
        breaker: ``closed``, ``open`` or ``half_open``.
        silences: deliveries in a row that did not reach it.
        allowed: studies on their way at the same time while it recovers, None = as configured.
        last_error: why it was not reached the last time.
        waiting: deliveries that are due or will be, and were not tried yet.
        retrying: deliveries that failed and are tried again.
        delivered_last_hour: studies that it has confirmed within the last hour.
        failing: its newest deliveries, as far as they failed for good one after the other.
        oldest_due: since when the delivery that waits longest has been due.
    """

    name: str
    state: str
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    breaker: str
    silences: int
    opened_at: datetime | None
    next_probe_at: datetime | None
    free_at: datetime | None
    allowed: int | None
    last_error: str
    waiting: int
    running: int
    retrying: int
    dead: int
    held: int
    delivered_last_hour: int
    oldest_due: datetime | None
    failing: int = 0

    @property
    def shown(self) -> str:
        """Its state in one word; one that is up and takes nothing is ``failing``."""
        return FAILING if self.state == UP and self.failing else self.state

    @property
    def backlog(self) -> int:
        """Deliveries that are still to be made."""
        return self.waiting + self.running + self.retrying


_STATE_COLUMNS = (
    "paused_at",
    "paused_by",
    "pause_reason",
    "breaker",
    "silences",
    "opened_at",
    "next_probe_at",
    "free_at",
    "allowed",
    "last_error",
)
_UNKNOWN = dict.fromkeys(_STATE_COLUMNS) | {
    "paused_by": "",
    "pause_reason": "",
    "breaker": CLOSED,
    "silences": 0,
    "last_error": "",
}


def list_destinations(
    connection: Connection, names: Iterable[str], now: datetime
) -> list[DestinationRow]:
    """Return the destinations of these names, in this order.

    Its cost grows with what is open and with the deliveries of the last hour, not with what was
    ever delivered.
    """
    found = connection.execute(sa.select(destination_states)).mappings()
    states = {row["destination"]: row for row in found}
    counts = _counts(connection)
    return [_row(connection, name, states.get(name, _UNKNOWN), counts, now) for name in names]


def find_destination(connection: Connection, name: str, now: datetime) -> DestinationRow:
    """Return one destination; one that nothing is known of is up and idle."""
    [row] = list_destinations(connection, [name], now)
    return row


def names_with_work(connection: Connection) -> list[str]:
    """Return the destinations that were paused or not reached, or have open deliveries."""
    seen = connection.execute(sa.select(destination_states.c.destination)).scalars()
    return sorted({*seen, *(name for name, _ in _counts(connection))})


def _row(
    connection: Connection,
    name: str,
    known: Any,
    counts: dict[tuple[str, str], int],
    now: datetime,
) -> DestinationRow:
    columns = {column: known[column] for column in _STATE_COLUMNS}
    return DestinationRow(
        name=name,
        state=state_of(known, now),
        **columns,
        waiting=counts.get((name, WAITING), 0),
        running=counts.get((name, RUNNING), 0),
        retrying=counts.get((name, RETRYING), 0),
        dead=counts.get((name, DEAD), 0),
        held=counts.get((name, HELD), 0),
        delivered_last_hour=_delivered_since(connection, name, now - _AN_HOUR),
        oldest_due=_oldest_due(connection, name),
        failing=_failing(connection, name) if counts.get((name, DEAD)) else 0,
    )


def _counts(connection: Connection) -> dict[tuple[str, str], int]:
    d = deliveries.c
    rows = connection.execute(
        sa.select(d.destination, d.state, sa.func.count())
        .where(d.state.in_(LACKING))
        .group_by(d.destination, d.state)
    )
    return {(destination, state): number for destination, state, number in rows}


def _delivered_since(connection: Connection, name: str, since: datetime) -> int:
    d = deliveries.c
    counted = sa.select(sa.func.count()).where(d.destination == name, d.delivered_at >= since)
    return int(connection.execute(counted).scalar_one())


def _failing(connection: Connection, name: str) -> int:
    """Count what has failed for good since the destination has confirmed anything."""
    d = deliveries.c
    delivered = sa.select(sa.func.max(d.delivered_at)).where(d.destination == name)
    newest = connection.execute(delivered).scalar_one()
    counted = sa.select(sa.func.count()).where(d.destination == name, d.state == DEAD)
    return int(
        connection.execute(counted.where(*given(d.last_failed_at.__gt__, newest))).scalar_one()
    )


def _oldest_due(connection: Connection, name: str) -> datetime | None:
    """Look at the head of either part of the queue, which the index gives at once."""
    d = deliveries.c
    heads = [
        connection.execute(
            sa.select(d.due_at)
            .where(d.destination == name, d.backlog.is_(backlog), d.due_at.is_not(None))
            .order_by(d.due_at)
            .limit(1)
        ).scalar_one_or_none()
        for backlog in (False, True)
    ]
    return min((head for head in heads if head is not None), default=None)


def pause(
    connection: Connection, name: str, *, by: str, reason: str, now: datetime, address: str = ""
) -> bool:
    """Let nothing more go to a destination; False where it was paused already.

    What is on its way is finished. What waits goes on waiting, and loses no attempt by it. Who
    did it, and why, goes to the audit trail.

    Args:
        address: where they came from, where they are not at the machine.
    """
    remember(connection, name, now)
    s = destination_states.c
    written = connection.execute(
        sa.update(destination_states)
        .where(s.destination == name, s.paused_at.is_(None))
        .values(paused_at=now, paused_by=by[:_NAME], pause_reason=reason, updated_at=now)
    )
    event = AuditEvent(Action.PAUSED, now, by, address=address)
    return _audited(connection, written, event, name, reason)


def remember(connection: Connection, name: str, now: datetime) -> None:
    """Make sure that a destination has a row."""
    row = insert(connection, destination_states).values(destination=name, updated_at=now)
    connection.execute(row.on_conflict_do_nothing())


def resume(connection: Connection, name: str, *, by: str, now: datetime, address: str = "") -> bool:
    """Let deliveries go to a destination at once, though it is paused or wants to be left alone.

    Returns:
        False where it was neither.
    """
    s = destination_states.c
    written = connection.execute(
        sa.update(destination_states)
        .where(s.destination == name, sa.or_(s.paused_at.is_not(None), s.free_at > now))
        .values(paused_at=None, paused_by="", pause_reason="", free_at=None, updated_at=now)
    )
    event = AuditEvent(Action.RESUMED, now, by, address=address)
    return _audited(connection, written, event, name, "")


def _audited(
    connection: Connection,
    written: sa.CursorResult[Any],
    event: AuditEvent,
    name: str,
    reason: str,
) -> bool:
    """Record who changed something, where anything was changed."""
    if not written.rowcount:
        return False
    record_audit(connection, replace(event, destination=name, reason=reason))
    return True


def is_paused(connection: Connection, name: str) -> bool:
    """Say whether a person has paused a destination."""
    s = destination_states.c
    paused = sa.select(sa.literal(1)).where(s.destination == name, s.paused_at.is_not(None))
    return connection.execute(paused).first() is not None
