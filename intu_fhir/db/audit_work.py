"""What the audit trail is told of receiving and delivering."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.tables import associations, instances, studies
from intu_fhir.model.audit import Action, Actor, AuditEvent, Outcome, once
from intu_fhir.model.instance import Disposition
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome
from intu_fhir.model.work import DEAD, Claim

_NOT_STORED: Mapping[Disposition, tuple[Action, Outcome]] = {
    Disposition.ALREADY_STORED: (Action.ALREADY_STORED, Outcome.SUCCESS),
    Disposition.QUARANTINED: (Action.QUARANTINED, Outcome.MINOR),
    Disposition.REFUSED: (Action.REFUSED, Outcome.MINOR),
}


def audit_association(
    connection: Connection,
    association_id: str,
    counts: Mapping[Disposition, int],
    *,
    reason: str,
    by: str = "",
    now: datetime,
) -> None:
    """Tell what an association or import brought: one event for each study, and each failure.

    Once is enough however often it is told; one event for each instance would make a trail that
    nobody reads and that costs the receiver its speed.

    Args:
        counts: what was answered; what was stored is counted by study in staging itself.
        reason: how it ended.
        by: the person who imports; a network sender is known by its AE title.
    """
    sender = connection.execute(
        sa.select(associations).where(associations.c.association_id == association_id)
    ).one()

    def event(
        action: Action, number: int, outcome: Outcome = Outcome.SUCCESS, study: str = ""
    ) -> AuditEvent:
        return AuditEvent(
            action,
            now,
            actor=by or sender.calling_ae_title,
            actor_kind=Actor.PERSON if by else Actor.DEVICE,
            address=sender.peer_address,
            outcome=outcome,
            study_instance_uid=study,
            association_id=association_id,
            objects=number,
            reason=reason,
            event_id=once(action, association_id, study),
        )

    stored = _stored_by_study(connection, association_id)
    failed = [
        event(action, counts[disposition], outcome)
        for disposition, (action, outcome) in _NOT_STORED.items()
        if counts.get(disposition)
    ]
    accepted = [event(Action.ACCEPTED, number, study=study) for study, number in stored.items()]
    record_audit(connection, *accepted, *failed)


def _stored_by_study(connection: Connection, association_id: str) -> dict[str, int]:
    counted = (
        sa.select(studies.c.study_instance_uid, sa.func.count())
        .join_from(instances, studies, studies.c.study_key == instances.c.study_key)
        .where(instances.c.association_id == association_id)
        .group_by(studies.c.study_instance_uid)
        .order_by(studies.c.study_instance_uid)
    )
    return {row[0]: row[1] for row in connection.execute(counted)}


def audit_delivery(
    connection: Connection,
    held: Claim,
    outcome: DeliveryOutcome,
    *,
    state: str,
    to_archive: bool,
    now: datetime,
) -> None:
    """Tell of a version of a study that reached its destination, or never will by itself.

    Tries that are repeated are in ``attempts``; where nothing had to be sent, nothing happened.

    Args:
        state: state of the delivery afterwards.
        to_archive: images went to a PACS, not a resource to a FHIR server.
    """
    delivered = isinstance(outcome, Delivered) and not outcome.unchanged
    if not delivered and state != DEAD:
        return
    status = outcome.status if isinstance(outcome, Delivered | Dead) else ""
    words = (status, outcome.detail)
    record_audit(
        connection,
        AuditEvent(
            Action.FORWARDED if to_archive else Action.PUBLISHED,
            now,
            actor=held.holder,
            actor_kind=Actor.PROGRAM,
            outcome=Outcome.SUCCESS if delivered else Outcome.SERIOUS,
            study_instance_uid=held.study_instance_uid,
            destination=held.destination,
            objects=_delivered_objects(connection, held) if to_archive else 1,
            reason=": ".join(word for word in words if word),
            event_id=once("delivery", str(held.key), str(held.want), str(held.fence)),
        ),
    )


def _delivered_objects(connection: Connection, held: Claim) -> int:
    number = sa.select(studies.c.number_of_instances).where(studies.c.study_key == held.study_key)
    return int(connection.execute(number).scalar_one())
