"""What waits for a person: held studies and quarantined objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import LIMIT, all_of, given
from intu_fhir.db.tables import associations, holds, quarantine, studies


@dataclass(frozen=True, slots=True)
class HoldRow:
    """One hold; ``destination`` is empty where the whole study is held."""

    hold_key: int
    study_instance_uid: str
    destination: str
    reason: str
    detail: str
    generation: int
    held_at: datetime
    released_at: datetime | None
    released_by: str


def list_holds(
    connection: Connection,
    *,
    released: bool = False,
    study_instance_uid: str | None = None,
    limit: int = LIMIT,
) -> list[HoldRow]:
    """Return open holds, the oldest first; with ``released`` those that were released too."""
    conditions = all_of(
        [] if released else [holds.c.released_at.is_(None)],
        given(studies.c.study_instance_uid.__eq__, study_instance_uid),
    )
    rows = connection.execute(
        sa.select(
            holds.c.hold_key,
            studies.c.study_instance_uid,
            holds.c.destination,
            holds.c.reason,
            holds.c.detail,
            holds.c.generation,
            holds.c.held_at,
            holds.c.released_at,
            holds.c.released_by,
        )
        .join_from(holds, studies, studies.c.study_key == holds.c.study_key)
        .where(*conditions)
        .order_by(holds.c.held_at, holds.c.hold_key)
        .limit(limit)
    )
    return [HoldRow(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One object whose bytes are kept and not published."""

    quarantine_key: int
    received_at: datetime
    reason: str
    detail: str
    sop_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    channel: str
    file: str


def list_quarantine(
    connection: Connection, *, reason: str | None = None, limit: int = LIMIT
) -> list[QuarantineRow]:
    """Return quarantined objects, the newest first."""
    q = quarantine.c
    found = (
        _objects()
        .where(*given(q.reason.__eq__, reason))
        .order_by(q.received_at.desc(), q.quarantine_key.desc())
        .limit(limit)
    )
    return [QuarantineRow(**row) for row in connection.execute(found).mappings()]


def find_quarantined(connection: Connection, quarantine_key: int) -> QuarantineRow | None:
    """Return one quarantined object, or None where there is none of this number."""
    found = _objects().where(quarantine.c.quarantine_key == quarantine_key)
    row = connection.execute(found).mappings().one_or_none()
    return QuarantineRow(**row) if row is not None else None


def _objects() -> sa.Select[Any]:
    q = quarantine.c
    return sa.select(
        q.quarantine_key,
        q.received_at,
        q.reason,
        q.detail,
        q.sop_instance_uid,
        q.study_instance_uid,
        associations.c.calling_ae_title,
        associations.c.channel,
        q.file,
    ).join_from(quarantine, associations, associations.c.association_id == q.association_id)
