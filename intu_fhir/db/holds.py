"""Studies that are not published until a person decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.tables import deliveries, holds, instances, studies
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.work import HELD, WAITING

NEEDS_REBUILD = frozenset({"invalid_resource"})
"""Reasons that no decision takes away: what was built is wrong, and has to be built again."""


class Release(StrEnum):
    """What became of a hold that a person wanted to release.

    ``ASKED_AGAIN``: the destination judges the study anew, and may hold it for the same reason.
    """

    RELEASED = "released"
    ASKED_AGAIN = "asked_again"
    NEEDS_REBUILD = "needs_rebuild"
    NOT_OPEN = "not_open"


def hold_study(
    connection: Connection,
    study_key: int,
    reasons: Iterable[StudyHold],
    *,
    generation: int,
    now: datetime,
    destination: str = "",
) -> None:
    """Hold a study, for one destination or for all; what a person released stays released."""
    known = {
        (row.reason, row.detail)
        for row in connection.execute(
            sa.select(holds.c.reason, holds.c.detail).where(
                holds.c.study_key == study_key, holds.c.destination == destination
            )
        )
    }
    for hold in reasons:
        if known.isdisjoint({(hold.reason, hold.detail), (hold.reason, hold.before)}):
            connection.execute(
                sa.insert(holds).values(
                    study_key=study_key,
                    destination=destination,
                    reason=hold.reason,
                    detail=hold.detail,
                    generation=generation,
                    held_at=now,
                )
            )


def hold_delivery(
    connection: Connection,
    study_key: int,
    destination: str,
    hold: StudyHold,
    *,
    generation: int,
    now: datetime,
) -> None:
    """Hold one destination of a study; an open hold for the same reason is enough."""
    open_one = sa.select(holds.c.hold_key).where(
        holds.c.study_key == study_key,
        holds.c.destination == destination,
        holds.c.reason == hold.reason,
        holds.c.released_at.is_(None),
    )
    key = connection.execute(open_one.limit(1)).scalar_one_or_none()
    values = {"detail": hold.detail, "generation": generation, "held_at": now}
    if key is not None:
        connection.execute(sa.update(holds).where(holds.c.hold_key == key).values(values))
        return
    connection.execute(
        sa.insert(holds).values(
            study_key=study_key, destination=destination, reason=hold.reason, **values
        )
    )


def study_of_hold(connection: Connection, hold_key: int) -> str:
    """Return the UID of the study that is held; empty where there is no such hold."""
    found = sa.select(studies.c.study_instance_uid).join(holds).where(holds.c.hold_key == hold_key)
    uid: str | None = connection.execute(found).scalar_one_or_none()
    return uid or ""


def lock_study(connection: Connection, study_key: int) -> None:
    """Take a study's turn until the transaction ends.

    Who asks for deliveries and who releases a hold must not miss each other. (SQLite has one
    writer anyway, and no such clause.)
    """
    turn = sa.select(studies.c.study_key).where(studies.c.study_key == study_key)
    connection.execute(turn.with_for_update())


def share_studies(connection: Connection, sop_instance_uids: Collection[str]) -> None:
    """Let nobody take the turn of the studies of these instances until the transaction ends.

    Others may share them too, and receivers go on adding to them.
    """
    of = sa.select(instances.c.study_key).where(
        instances.c.sop_instance_uid.in_(sorted(sop_instance_uids))
    )
    found = sorted(set(connection.execute(of).scalars()))
    shared = sa.select(studies.c.study_key).where(studies.c.study_key.in_(found))
    ordered = shared.order_by(studies.c.study_key)
    connection.execute(ordered.with_for_update(read=True, key_share=True))


def is_held(connection: Connection, study_key: int) -> bool:
    """Say whether the whole study is held; ``lock_study`` first where it decides something."""
    found = sa.select(sa.literal(1)).where(
        holds.c.study_key == study_key,
        holds.c.destination == "",
        holds.c.released_at.is_(None),
    )
    return connection.execute(found.limit(1)).first() is not None


def close_holds(
    connection: Connection, study_key: int, *, destination: str, by: str, now: datetime
) -> None:
    """Close the holds of one destination since their reason is gone."""
    connection.execute(
        sa.update(holds)
        .where(
            holds.c.study_key == study_key,
            holds.c.destination == destination,
            holds.c.released_at.is_(None),
        )
        .values(released_at=now, released_by=by)
    )


def release(
    connection: Connection,
    hold_key: int,
    *,
    by: str,
    now: datetime,
    why: str = "",
    address: str = "",
) -> Release:
    """Release a hold by a person's decision, and say what comes of it.

    The deliveries it kept back become due, unless another hold still keeps them.

    Args:
        why: the person's reason, for the audit trail.
        address: where they came from, where they are not at the machine.
    """
    hold = connection.execute(sa.select(holds).where(holds.c.hold_key == hold_key)).one_or_none()
    if hold is None:
        return Release.NOT_OPEN
    lock_study(connection, hold.study_key)
    is_open = sa.and_(holds.c.hold_key == hold_key, holds.c.released_at.is_(None))
    if connection.execute(sa.select(holds.c.hold_key).where(is_open)).first() is None:
        return Release.NOT_OPEN
    if hold.reason in NEEDS_REBUILD:
        return Release.NEEDS_REBUILD
    connection.execute(sa.update(holds).where(is_open).values(released_at=now, released_by=by))
    let_go(connection, hold.study_key, now)
    event = _released(connection, hold, by, why, now)
    record_audit(connection, replace(event, address=address))
    return Release.ASKED_AGAIN if hold.destination else Release.RELEASED


def _released(
    connection: Connection, hold: sa.Row[Any], by: str, why: str, now: datetime
) -> AuditEvent:
    uid = sa.select(studies.c.study_instance_uid).where(studies.c.study_key == hold.study_key)
    return AuditEvent(
        Action.RELEASED,
        now,
        actor=by,
        study_instance_uid=connection.execute(uid).scalar_one(),
        destination=hold.destination,
        reason="; ".join(filter(None, (f"hold {hold.hold_key}: {hold.reason}", why))),
    )


def let_go(connection: Connection, study_key: int, now: datetime) -> None:
    """Make the held deliveries of a study due which no open hold keeps back."""
    keeping = sa.select(sa.literal(1)).where(
        holds.c.study_key == deliveries.c.study_key,
        holds.c.released_at.is_(None),
        sa.or_(holds.c.destination == "", holds.c.destination == deliveries.c.destination),
    )
    connection.execute(
        sa.update(deliveries)
        .where(
            deliveries.c.study_key == study_key,
            deliveries.c.state == HELD,
            ~keeping.exists(),
        )
        .values(state=WAITING, due_at=now, attempts=0, updated_at=now)
    )
