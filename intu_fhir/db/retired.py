"""Taking a destination out of service for good: what is open there is left out, with a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, destination_states, holds
from intu_fhir.db.work import NO_FAILURE
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.work import FILTERED, LACKING

AT_ONCE = 1_000
"""Deliveries of one transaction: who settles or records one of these studies waits for it."""

_NAME = 64


@dataclass(frozen=True, slots=True)
class Retirer:
    """Who takes a destination out of service, and why.

    Args:
        reason: in their own words; without patient data.
        address: where they came from, where they are not at the machine.
    """

    name: str
    reason: str = ""
    address: str = ""

    def why(self) -> str:
        """Return what a delivery says that is left out by this."""
        said = f"taken out of service by {self.name[:_NAME]}"
        return f"{said}: {self.reason}" if self.reason else said


def count_open(connection: Connection, destination: str) -> int:
    """Return how many studies a destination has not got, whatever keeps them."""
    counted = sa.select(sa.func.count()).where(*_open_at(destination))
    return int(connection.execute(counted).scalar_one())


def retire_all(
    database: Database, destination: str, by: Retirer, now: Callable[[], datetime]
) -> int:
    """Leave out all that is open at a destination; return how many studies."""
    done = 0
    while True:
        with database.write() as connection:
            written = retire(connection, destination, by, now())
        done += written
        if written < AT_ONCE:
            return done


def retire(connection: Connection, destination: str, by: Retirer, now: datetime) -> int:
    """Leave out up to ``AT_ONCE`` open deliveries of a destination; return how many.

    What it has stays told. What a worker has in hand is finished, and its try is kept. The holds
    that concern this destination alone are closed. With the last one goes what is known of the
    destination as a whole: whether it is paused, or answers.
    """
    d = deliveries.c
    # In the order of studies, as others take rows of several: two never wait for each other.
    found = sa.select(d.delivery_key, d.study_key).where(*_open_at(destination))
    found = found.order_by(d.study_key).limit(AT_ONCE).with_for_update(key_share=True)
    rows = connection.execute(found).all()
    connection.execute(
        sa.update(deliveries)
        .where(d.delivery_key.in_([row.delivery_key for row in rows]), d.state.in_(LACKING))
        .values(
            state=FILTERED,
            due_at=None,
            attempts=0,
            follows="",
            reason=by.why(),
            updated_at=now,
            **NO_FAILURE,
        )
    )
    connection.execute(
        sa.update(holds)
        .where(
            holds.c.study_key.in_([row.study_key for row in rows]),
            holds.c.destination == destination,
            holds.c.released_at.is_(None),
        )
        .values(released_at=now, released_by=by.name[:_NAME])
    )
    if len(rows) < AT_ONCE:
        connection.execute(
            sa.delete(destination_states).where(destination_states.c.destination == destination)
        )
    record_audit(
        connection,
        AuditEvent(
            Action.RETIRED,
            now,
            by.name,
            address=by.address,
            destination=destination,
            objects=len(rows),
            reason=by.reason,
        ),
    )
    return len(rows)


def _open_at(destination: str) -> list[sa.ColumnElement[bool]]:
    return [deliveries.c.destination == destination, deliveries.c.state.in_(LACKING)]
