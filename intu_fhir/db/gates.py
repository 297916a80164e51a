"""What lets studies through to a destination, kept where all processes look: in its row."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.destinations import remember
from intu_fhir.db.tables import destination_states
from intu_fhir.model.destination import OPEN, BreakerState, Gate

_STATE = tuple(field.name for field in fields(BreakerState))
_NOTHING_KNOWN = Gate()


def read_gate(connection: Connection, destination: str) -> Gate:
    """Return what keeps a destination's studies back."""
    s = destination_states.c
    found = sa.select(s.paused_at, s.free_at, *(s[name] for name in _STATE))
    row = connection.execute(found.where(s.destination == destination)).mappings().one_or_none()
    if row is None:
        return _NOTHING_KNOWN
    return Gate(row["paused_at"] is not None, _state(row), row["free_at"])


def _state(row: Any) -> BreakerState:
    return BreakerState(**{name: row[name] for name in _STATE})


def pass_gate(
    connection: Connection,
    destination: str,
    gate: Gate,
    *,
    per_minute: float | None,
    lease_until: datetime,
    now: datetime,
) -> None:
    """Note that a study goes to a destination, in the transaction that claims it.

    Args:
        per_minute: how many may go; what was not used up to a second ago may be used now.
        lease_until: when a probe counts as lost.
    """
    values: dict[str, Any] = {}
    if gate.state.breaker == OPEN:
        values = {"probes": gate.state.probes + 1, "next_probe_at": lease_until}
    if per_minute is not None:
        values["free_at"] = _next_free(gate.free_at, per_minute, now)
    if values:
        remember(connection, destination, now)
        _write(connection, destination, now, values)


def _next_free(free_at: datetime | None, per_minute: float, now: datetime) -> datetime:
    """Move the time by which tokens are counted: a bucket of one second, at least of one token.

    It is the generic cell rate algorithm (ITU-T I.371): one time instead of a number of tokens
    and the time when they were counted.
    """
    interval = timedelta(seconds=60 / per_minute)
    earliest = now - max(timedelta(seconds=1) - interval, timedelta())
    return max(free_at or earliest, earliest) + interval


def hold_back(connection: Connection, destination: str, until: datetime, now: datetime) -> None:
    """Let no study go to a destination before a time, unless a later one was noted already."""
    remember(connection, destination, now)
    s = destination_states.c
    connection.execute(
        sa.update(destination_states)
        .where(s.destination == destination, sa.or_(s.free_at.is_(None), s.free_at < until))
        .values(free_at=until, updated_at=now)
    )


def lock_state(connection: Connection, destination: str, now: datetime) -> BreakerState:
    """Return how a destination answers, and let nobody else change it in this transaction."""
    remember(connection, destination, now)
    s = destination_states.c
    found = sa.select(*(s[name] for name in _STATE)).where(s.destination == destination)
    return _state(connection.execute(found.with_for_update()).mappings().one())


def store_state(
    connection: Connection, destination: str, state: BreakerState, now: datetime
) -> None:
    """Keep how a destination answers."""
    _write(connection, destination, now, {name: getattr(state, name) for name in _STATE})


def _write(connection: Connection, destination: str, now: datetime, values: Any) -> None:
    s = destination_states.c
    connection.execute(
        sa.update(destination_states)
        .where(s.destination == destination)
        .values(updated_at=now, **values)
    )
