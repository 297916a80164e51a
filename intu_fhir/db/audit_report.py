"""The audit trail as people read it and as it is exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import LIMIT, all_of, given
from intu_fhir.db.tables import audit_events, instances, studies
from intu_fhir.model.audit import Action, Actor, Outcome

_PAGE = 500


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events; what is None does not matter.

    Args:
        since: happened at or after this time.
        until: happened before this time.
    """

    actions: tuple[str, ...] | None = None
    actor: str | None = None
    study_instance_uid: str | None = None
    destination: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One event; the patient is that of its study in staging, whose trail holds none.

    Args:
        position: its place in the chain; None where it has none yet.
        sop_classes: SOP Class UIDs of the study with their number of instances.
    """

    audit_event_key: int
    event_id: str
    happened_at: datetime
    action: Action
    outcome: Outcome
    actor: str
    actor_kind: Actor
    address: str
    study_instance_uid: str
    association_id: str
    destination: str
    objects: int
    reason: str
    position: int | None
    hash: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    sop_classes: tuple[tuple[str, int], ...] = ()


_COLUMNS = tuple(
    name
    for name in AuditRow.__slots__
    if name not in {"patient_id", "issuer_of_patient_id", "sop_classes"}
)


def list_audit(
    connection: Connection, wanted: AuditFilter, *, limit: int = LIMIT
) -> list[AuditRow]:
    """Return events without their patients, the newest first."""
    c = audit_events.c
    found = sa.select(*(c[name] for name in _COLUMNS)).where(*_conditions(wanted))
    ordered = found.order_by(c.happened_at.desc(), c.audit_event_key.desc()).limit(limit)
    return [_row(dict(row)) for row in connection.execute(ordered).mappings()]


def every_audit(connection: Connection, wanted: AuditFilter) -> Iterator[AuditRow]:
    """Give events with their patients, the oldest first, some at a time."""
    c = audit_events.c
    found = (
        sa.select(
            *(c[name] for name in _COLUMNS),
            sa.func.coalesce(studies.c.patient_id, "").label("patient_id"),
            sa.func.coalesce(studies.c.issuer_of_patient_id, "").label("issuer_of_patient_id"),
        )
        .join_from(
            audit_events,
            studies,
            studies.c.study_instance_uid == c.study_instance_uid,
            isouter=True,
        )
        .where(*_conditions(wanted))
        .order_by(c.audit_event_key)
        .limit(_PAGE)
    )
    after = -1
    while True:
        page = [
            dict(row)
            for row in connection.execute(found.where(c.audit_event_key > after)).mappings()
        ]
        classes = _sop_classes(connection, sorted({row["study_instance_uid"] for row in page}))
        for row in page:
            yield _row({**row, "sop_classes": classes.get(row["study_instance_uid"], ())})
        if len(page) < _PAGE:
            return
        after = page[-1]["audit_event_key"]


def _row(values: dict[str, Any]) -> AuditRow:
    kinds = {
        "action": Action(values["action"]),
        "outcome": Outcome(values["outcome"]),
        "actor_kind": Actor(values["actor_kind"]),
    }
    return AuditRow(**{**values, **kinds})


def _conditions(wanted: AuditFilter) -> list[sa.ColumnElement[bool]]:
    c = audit_events.c
    return all_of(
        given(c.action.in_, wanted.actions),
        given(c.actor.__eq__, wanted.actor),
        given(c.study_instance_uid.__eq__, wanted.study_instance_uid),
        given(c.destination.__eq__, wanted.destination),
        given(c.outcome.__eq__, wanted.outcome),
        given(c.happened_at.__ge__, wanted.since),
        given(c.happened_at.__lt__, wanted.until),
    )


def _sop_classes(
    connection: Connection, uids: Sequence[str]
) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return what kinds of objects studies hold."""
    counted = (
        sa.select(studies.c.study_instance_uid, instances.c.sop_class_uid, sa.func.count())
        .join_from(studies, instances, instances.c.study_key == studies.c.study_key)
        .where(studies.c.study_instance_uid.in_([uid for uid in uids if uid]))
        .group_by(studies.c.study_instance_uid, instances.c.sop_class_uid)
        .order_by(studies.c.study_instance_uid, instances.c.sop_class_uid)
    )
    found: dict[str, tuple[tuple[str, int], ...]] = {}
    for uid, sop_class, number in connection.execute(counted):
        found[uid] = (*found.get(uid, ()), (sop_class, number))
    return found
