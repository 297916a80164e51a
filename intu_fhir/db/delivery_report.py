"""The list of deliveries: what waits, what failed, what is dead, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import LIMIT, all_of, given
from intu_fhir.db.tables import deliveries, holds, instance_deliveries, studies
from intu_fhir.model.work import HELD


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One study at one destination; ``last_error`` says why it is not there.

    Args:
        reason: why it is left out, or what it waits for.
        follows: the destination that has to have the study first, and has not.
        followed_state: how that one is doing; None where it was never asked for the study.
        followed_error: what went wrong there.
        followed_commitment: whether that one has promised to keep it, where it was asked.
        held_for: why a person has to decide, where it is held.
        commitment: the PACS's promise to keep it, see the table; empty = never asked for.
        committed_at: when it had promised to keep all of it.
        transcoded: images that a PACS got decompressed.
    """

    delivery_key: int
    study_instance_uid: str
    accession_number: str
    destination: str
    state: str
    want: int
    have: int
    attempts: int
    due_at: datetime | None
    first_failed_at: datetime | None
    last_status: str
    last_error: str
    warning: str
    reason: str
    follows: str
    followed_state: str | None
    followed_error: str | None
    followed_commitment: str | None
    held_for: str | None
    delivered_at: datetime | None
    commitment: str
    committed_at: datetime | None
    server_id: str
    server_version: str
    updated_at: datetime
    transcoded: int


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries to list; what is None does not matter."""

    study_instance_uid: str | None = None
    destination: str | None = None
    states: tuple[str, ...] | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    after: tuple[datetime, int] | None = None
    limit: int = LIMIT


def delivery_columns() -> list[sa.ColumnElement[Any]]:
    """Return the columns of ``DeliveryRow``, from ``deliveries`` joined with ``studies``."""
    d = deliveries.c
    return [
        d.delivery_key,
        studies.c.study_instance_uid,
        studies.c.accession_number,
        d.destination,
        d.state,
        d.want,
        d.have,
        d.attempts,
        d.due_at,
        d.first_failed_at,
        d.last_status,
        d.last_error,
        d.warning,
        d.reason,
        d.follows,
        _followed("state", "followed_state"),
        _followed("last_error", "followed_error"),
        _followed("commitment", "followed_commitment"),
        _HELD_FOR,
        d.delivered_at,
        d.commitment,
        d.committed_at,
        d.server_id,
        d.server_version,
        d.updated_at,
        _transcoded(),
    ]


def _transcoded() -> sa.ColumnElement[Any]:
    c = instance_deliveries.c
    found = sa.select(sa.func.count()).where(
        c.delivery_key == deliveries.c.delivery_key, c.delivered, c.transcoded_to != ""
    )
    return found.correlate(deliveries).scalar_subquery().label("transcoded")


_OTHER = deliveries.alias("followed")


_HELD_FOR = (
    sa.select(holds.c.reason + ": " + holds.c.detail)
    .where(
        holds.c.study_key == deliveries.c.study_key,
        holds.c.destination.in_(["", deliveries.c.destination]),
        holds.c.released_at.is_(None),
        deliveries.c.state == HELD,
    )
    .order_by(holds.c.hold_key)
    .limit(1)
    .correlate(deliveries)
    .scalar_subquery()
    .label("held_for")
)


def _followed(column: str, label: str) -> sa.ColumnElement[Any]:
    found = sa.select(_OTHER.c[column]).where(
        _OTHER.c.study_key == deliveries.c.study_key,
        _OTHER.c.destination == deliveries.c.follows,
    )
    return found.correlate(deliveries).scalar_subquery().label(label)


def list_deliveries(connection: Connection, wanted: DeliveryFilter) -> list[DeliveryRow]:
    """Return deliveries, what changed last first."""
    d = deliveries.c
    conditions = all_of(
        given(studies.c.study_instance_uid.__eq__, wanted.study_instance_uid),
        given(d.destination.__eq__, wanted.destination),
        given(d.state.in_, wanted.states),
        given(d.updated_at.__ge__, wanted.updated_from),
        given(d.updated_at.__lt__, wanted.updated_to),
        given(_delivery_follows, wanted.after),
    )
    rows = connection.execute(
        sa.select(*delivery_columns())
        .join_from(deliveries, studies, studies.c.study_key == d.study_key)
        .where(*conditions)
        .order_by(d.updated_at.desc(), d.delivery_key.desc())
        .limit(wanted.limit)
    )
    return [DeliveryRow(**row) for row in rows.mappings()]


def _delivery_follows(after: tuple[datetime, int]) -> sa.ColumnElement[bool]:
    """What stands below ``after``; the first condition lets an index be entered at the place."""
    time, key = after
    d = deliveries.c
    return sa.and_(d.updated_at <= time, sa.or_(d.updated_at < time, d.delivery_key < key))


def count_deliveries(
    connection: Connection, study_key: int | None = None
) -> dict[str, dict[str, int]]:
    """Return how many deliveries there are, of all studies or of one, by destination and state."""
    rows = connection.execute(
        sa.select(deliveries.c.destination, deliveries.c.state, sa.func.count())
        .where(*given(deliveries.c.study_key.__eq__, study_key))
        .group_by(deliveries.c.destination, deliveries.c.state)
        .order_by(deliveries.c.destination, deliveries.c.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for destination, state, number in rows:
        counts.setdefault(destination, {})[state] = number
    return counts
