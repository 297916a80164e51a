"""What the audit trail is told of receiving and delivering."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.log_beginnings import removed_until
from intu_fhir.db.tables import (
    associations,
    audit_events,
    instance_deliveries,
    instances,
    studies,
)
from intu_fhir.model.answers import status_beside
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
    Images that a PACS confirmed to a worker that died before it could tell are told of by the next.

    Args:
        state: state of the delivery afterwards.
        to_archive: images went to a PACS, not a resource to a FHIR server.
    """
    delivered = isinstance(outcome, Delivered)
    if not delivered and state != DEAD:
        return
    objects = _confirmed_since_told(connection, held) if to_archive else 1
    if isinstance(outcome, Delivered) and outcome.unchanged and not (to_archive and objects):
        return
    status = outcome.status if isinstance(outcome, Delivered | Dead) else ""
    words = (status_beside(status, outcome.detail), outcome.detail)
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
            objects=objects,
            reason=": ".join(word for word in words if word),
            event_id=once("delivery", str(held.key), str(held.want), str(held.fence)),
        ),
    )


def _confirmed_since_told(connection: Connection, held: Claim) -> int:
    """Count what a PACS has confirmed since the trail last told of this study there.

    Several tries, by several workers, may have brought them; the ledger has them all. Where a clock
    was set back, what is there beyond all that was told of is new nevertheless. What was answered
    before the trail begins, it has told of, and no study of then is on its way (``old_audit``).
    """
    e, i = audit_events.c, instance_deliveries.c
    of_before = sa.select(
        sa.func.max(e.happened_at), sa.func.coalesce(sa.func.sum(e.objects), 0)
    ).where(
        e.study_instance_uid == held.study_instance_uid,
        e.destination == held.destination,
        e.action == Action.FORWARDED,
    )
    last, told = connection.execute(of_before).one()
    begin = removed_until(connection, audit_events.name)
    is_later = i.answered_at > last if last else sa.true()
    confirmed = sa.select(sa.func.count(), sa.func.count(sa.case((is_later, 1)))).where(
        i.delivery_key == held.key, i.delivered, i.answered_at > begin if begin else sa.true()
    )
    in_all, later = connection.execute(confirmed).one()
    return max(int(later), int(in_all) - int(told))
