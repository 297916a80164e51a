"""Destinations that get nothing, or less than they could: paused by a person, or not answering."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import destination_states
from intu_fhir.model.destination import CLOSED, DOWN, HALF_OPEN, LATER, PAUSED, RECOVERING, UP

_OF_A_RATE = timedelta(seconds=60)
"""A longer time to wait is no matter of so many studies a minute: the destination wants it."""


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A destination that work waits for because it is paused, does not answer or wants nothing now.

    Args:
        state: ``paused``, ``down`` (its breaker is open), ``recovering`` or ``later``.
        since: when it was paused, or when it stopped answering.
        by: who paused it.
        why: in the words of who paused it, or why it was not reached the last time.
        next_probe_at: when one delivery tries whether it answers, or may go again.
    """

    destination: str
    state: str
    since: datetime | None
    by: str
    why: str
    next_probe_at: datetime | None


def kept_back(connection: Connection, now: datetime) -> list[KeptBack]:
    """Return the destinations that are not simply up, by name."""
    rows = sa.select(destination_states).order_by(destination_states.c.destination)
    found = [(row, state_of(row, now)) for row in connection.execute(rows).mappings()]
    return [_kept_back(row, state) for row, state in found if state != UP]


def _kept_back(row: Any, state: str) -> KeptBack:
    paused = state == PAUSED
    if state == LATER:
        return KeptBack(row["destination"], state, row["updated_at"], "", "", row["free_at"])
    return KeptBack(
        destination=row["destination"],
        state=state,
        since=row["paused_at"] if paused else row["opened_at"],
        by=row["paused_by"] if paused else "",
        why=row["pause_reason"] if paused else row["last_error"],
        next_probe_at=None if paused else row["next_probe_at"],
    )


def state_of(row: Any, now: datetime) -> str:
    """Return the state of a destination in one word; a pause is told before anything else."""
    if row["paused_at"] is not None:
        return PAUSED
    if row["breaker"] == CLOSED:
        free_at = row["free_at"]
        return LATER if free_at is not None and free_at > now + _OF_A_RATE else UP
    return RECOVERING if row["breaker"] == HALF_OPEN else DOWN
