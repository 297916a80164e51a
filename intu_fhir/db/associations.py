"""Associations: how each ended, and what is still open for a study."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit_work import audit_association
from intu_fhir.db.parents import store_associations
from intu_fhir.db.tables import association_studies, associations, work
from intu_fhir.model.instance import Disposition, Origin
from intu_fhir.model.work import AGGREGATE

LOST = "lost"
_AT_A_TIME = 500


def end_association(
    connection: Connection,
    origin: Origin,
    *,
    reason: str,
    counts: Mapping[Disposition, int],
    now: datetime,
    receiver: str,
    by: str = "",
) -> None:
    """Record how an association ended and what it brought; twice is as good as once.

    Args:
        by: the person who imports.
    """
    store_associations(connection, [origin], now, receiver)
    connection.execute(
        sa.update(associations)
        .where(associations.c.association_id == origin.association_id)
        .values(
            ended_at=now,
            end_reason=reason,
            stored=counts.get(Disposition.STORED, 0),
            already_stored=counts.get(Disposition.ALREADY_STORED, 0),
            quarantined=counts.get(Disposition.QUARANTINED, 0),
            refused=counts.get(Disposition.REFUSED, 0),
        )
    )
    audit_association(connection, origin.association_id, counts, reason=reason, by=by, now=now)


def look_at_studies_now(
    connection: Connection, association_ids: Collection[str], now: datetime
) -> None:
    """Let the studies of ended associations be judged at once, not after the quiet time.

    Their rows are taken in the order of the studies, as receivers take them: in another order two
    transactions could wait for each other, and a receiver might be the one that is undone.
    """
    touched = sa.select(association_studies.c.study_key).where(
        association_studies.c.association_id.in_(association_ids)
    )
    later = sa.and_(work.c.step == AGGREGATE, work.c.due_at > now)
    waiting = (
        sa.select(work.c.work_key)
        .where(later, work.c.study_key.in_(touched))
        .order_by(work.c.study_key)
        .with_for_update()
    )
    keys = connection.execute(waiting).scalars().all()
    for begin in range(0, len(keys), _AT_A_TIME):
        some = work.c.work_key.in_(keys[begin : begin + _AT_A_TIME])
        connection.execute(sa.update(work).where(some).values(due_at=now, updated_at=now))


def close_lost(connection: Connection, receivers: Collection[str], now: datetime) -> int:
    """End the associations that these receivers left open when they died; return how many."""
    closed = connection.execute(
        sa.update(associations)
        .where(associations.c.receiver.in_(receivers), associations.c.ended_at.is_(None))
        .values(ended_at=now, end_reason=LOST)
        .returning(associations.c.association_id)
    )
    ids = closed.scalars().all()
    for association_id in ids:
        audit_association(connection, association_id, {}, reason=LOST, now=now)
    return len(ids)
