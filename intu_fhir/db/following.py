"""Destinations that come after others: who waits, for whom, and when waiting ends.

A delivery that follows has no ``due_at``: it costs nobody a look until the other one is done.
Both sides take the study's turn first (``db.holds.lock_study``), so that neither is missed.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import deliveries
from intu_fhir.model.work import FILTERED, WAITING, Claim, Follows


def first_missing(
    connection: Connection,
    study_key: int,
    destinations: Collection[str],
    want: int,
    awaited: Collection[str] = (),
) -> str:
    """Return the first of these destinations that lacks a generation of a study, or nothing.

    Args:
        awaited: those that have it only when they have promised to keep it.
    """
    d = deliveries.c
    # What was delivered before anybody asked for promises is not asked for one any more.
    waits = sa.and_(d.destination.in_(awaited), d.commitment != "")
    have = sa.case((waits, d.committed_generation), else_=d.have)
    found = sa.select(d.destination).where(
        d.study_key == study_key, d.destination.in_(destinations), have >= want
    )
    reached = set(connection.execute(found).scalars())
    return next((name for name in destinations if name not in reached), "")


def follow(connection: Connection, held: Claim, result: Follows) -> None:
    """Let a delivery that was just given back wait for another, unless that is done by now."""
    d = deliveries.c
    if result.still(connection):
        connection.execute(
            sa.update(deliveries)
            .where(d.delivery_key == held.key, d.want == held.want, d.state == WAITING)
            .values(due_at=None, follows=result.destination)
        )


def let_followers_go(
    connection: Connection, study_key: int, destination: str, *, now: datetime
) -> int:
    """Make due what waited for a destination that has the study now; return how many."""
    return _let_go(connection, now, deliveries.c.study_key == study_key, follows=destination)


def let_all_go(connection: Connection, *, now: datetime) -> int:
    """Make everybody who follows look again, since the configuration may have changed."""
    return _let_go(connection, now)


def _let_go(
    connection: Connection,
    now: datetime,
    *conditions: sa.ColumnElement[bool],
    follows: str | None = None,
) -> int:
    d = deliveries.c
    whom = d.follows == follows if follows is not None else sa.true()
    waiting = sa.and_(d.state == WAITING, d.due_at.is_(None))
    # The condition of the partial index, so that it serves.
    written = connection.execute(
        sa.update(deliveries)
        .where(*conditions, d.follows != sa.literal_column("''"), whom)
        .values(
            follows="",
            due_at=sa.case((waiting, sa.literal(now, d.due_at.type)), else_=d.due_at),
            updated_at=now,
        )
    )
    return int(written.rowcount)


def note_reason(connection: Connection, held: Claim, reason: str = "") -> None:
    """Say what a delivery waits for; what it waited for until now is forgotten.

    Why it is left out of a destination by now stays.
    """
    d = deliveries.c
    other = sa.or_(d.reason != reason, d.follows != "")
    connection.execute(
        sa.update(deliveries)
        .where(d.delivery_key == held.key, d.state != FILTERED, other)
        .values(reason=reason, follows="")
    )
