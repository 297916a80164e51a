"""Deliveries: what should be where, what is, and every try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import (
    attempts,
    deliveries,
    generations,
    instance_deliveries,
    instances,
    studies,
)
from intu_fhir.db.upsert import insert
from intu_fhir.db.work import counts, raised
from intu_fhir.model.outcome import Attempt, Dead, Delivered, Hold, InstanceOutcome, Retry
from intu_fhir.model.work import (
    DEAD,
    DELIVERED,
    FILTERED,
    HELD,
    RETRYING,
    WAITING,
    Claim,
    DeliveryWish,
)

OUTCOME_NAMES: Mapping[type, str] = {
    Delivered: DELIVERED,
    Retry: RETRYING,
    Dead: DEAD,
    Hold: HELD,
}


_REASON = deliveries.c.reason


def want_delivery(
    connection: Connection,
    study_key: int,
    destination: str,
    generation: int,
    *,
    wish: DeliveryWish,
    now: datetime,
    backlog: bool = False,
    trace_parent: str = "",
) -> None:
    """Ask for a generation of a study at a destination, or note why it is kept back.

    Args:
        backlog: fresh work goes first.
        trace_parent: span of who asks, where that is traced.
    """
    state = wish.state
    statement = insert(connection, deliveries).values(
        study_key=study_key,
        destination=destination,
        want=generation,
        state=state,
        due_at=now if state == WAITING else None,
        reason=wish.reason,
        backlog=backlog,
        updated_at=now,
        trace_parent=trace_parent,
    )
    new = statement.excluded
    newer = counts(deliveries, new, again=wish.again)
    given = sa.or_(new.want > deliveries.c.want, sa.and_(newer, new.state == FILTERED))
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["study_key", "destination"],
            set_={
                **raised(deliveries, new, keep_backoff=not wish.again, newer=newer),
                "reason": sa.case((given, new.reason), else_=_REASON),
            },
        )
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a study at a FHIR destination."""

    server_id: str
    server_version: str
    content_hash: str
    warning: str


def known_at(connection: Connection, delivery_key: int) -> Known:
    """Return what an earlier delivery learned."""
    row = connection.execute(
        sa.select(
            deliveries.c.server_id,
            deliveries.c.server_version,
            deliveries.c.content_hash,
            deliveries.c.warning,
        ).where(deliveries.c.delivery_key == delivery_key)
    ).one()
    return Known(*row)


def record_attempt(connection: Connection, held: Claim, attempt: Attempt) -> None:
    """Keep one try with the peer's own words, and what it taught about the destination."""
    outcome = attempt.outcome
    connection.execute(
        sa.insert(attempts).values(
            delivery_key=held.key,
            generation=held.want,
            number=held.attempts + 1,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            outcome=OUTCOME_NAMES[type(outcome)],
            status="" if isinstance(outcome, Hold) else outcome.status,
            detail=outcome.detail,
        )
    )
    if isinstance(outcome, Delivered):
        _record_delivered(connection, held, outcome, attempt.ended_at)
    elif not isinstance(outcome, Hold):
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_key == held.key)
            .values(last_status=outcome.status)
        )


def _record_delivered(
    connection: Connection, held: Claim, outcome: Delivered, now: datetime
) -> None:
    values = {
        "delivered_at": now,
        "last_status": outcome.status,
        "warning": outcome.warning,
        "server_id": outcome.server_id,
        "server_version": outcome.version,
        "content_hash": outcome.content_hash,
    }
    if outcome.unchanged:
        del values["delivered_at"]
    # Where nothing was sent, what was remarked on what is there still holds.
    emptied = set() if outcome.unchanged else {"warning"}
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.delivery_key == held.key)
        .values({key: value for key, value in values.items() if value or key in emptied})
    )


@dataclass(frozen=True, slots=True)
class PendingInstance:
    """An instance that a PACS has not confirmed yet."""

    instance_key: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: str
    data_set_offset: int
    sha256: str


def pending_instances(connection: Connection, held: Claim) -> list[PendingInstance] | None:
    """Return the instances of a generation that this destination has not taken yet.

    Those that failed before come last: one that makes a PACS break off keeps no other back.

    Returns:
        None where the study has grown since and nobody can tell for sure what of it was judged.
    """
    judged = _judged(connection, held)
    if judged is None:
        return None
    tried = sa.select(sa.literal(1)).where(
        instance_deliveries.c.delivery_key == held.key,
        instance_deliveries.c.instance_key == instances.c.instance_key,
    )
    taken = tried.where(instance_deliveries.c.delivered)
    rows = connection.execute(
        sa.select(
            instances.c.instance_key,
            instances.c.sop_class_uid,
            instances.c.sop_instance_uid,
            instances.c.transfer_syntax_uid,
            instances.c.file,
            instances.c.data_set_offset,
            instances.c.sha256,
        )
        .where(instances.c.study_key == held.study_key, judged, ~taken.exists())
        .order_by(
            sa.case((tried.exists(), 1), else_=0),
            instances.c.series_key,
            instances.c.instance_key,
        )
    )
    return [PendingInstance(*row) for row in rows]


def _judged(connection: Connection, held: Claim) -> sa.ColumnElement[bool] | None:
    """Return what picks out the instances that a generation was settled on.

    What came later may belong to another patient: it goes nowhere before it was looked at. A
    generation knows how many instances it had (each raises the study's revision by one), and those
    are the ones received by then, where there are as many.
    """
    g, of_study = generations.c, studies.c.study_key == held.study_key
    settled = connection.execute(
        sa.select(g.revision, g.settled_at, studies.c.revision.label("now"))
        .join_from(studies, generations, studies.c.study_key == g.study_key)
        .where(of_study, g.generation == held.want)
    ).one_or_none()
    if settled is None or settled.now == settled.revision:
        return sa.true()
    in_time = instances.c.received_at <= settled.settled_at
    number = sa.select(sa.func.count()).where(instances.c.study_key == held.study_key, in_time)
    return in_time if connection.execute(number).scalar_one() == settled.revision else None


def record_instances(
    connection: Connection,
    held: Claim,
    answers: Mapping[int, InstanceOutcome],
    now: datetime,
) -> None:
    """Keep a PACS's answers by instance key; a later answer for an instance replaces it.

    But for what the PACS has: who lost the study meanwhile may have heard nothing of that.
    """
    rows = [
        {
            "delivery_key": held.key,
            "instance_key": instance_key,
            "status": answer.status,
            "delivered": answer.delivered,
            "warning": answer.warning,
            "detail": answer.detail,
            "answered_at": now,
            "transcoded_to": answer.transcoded_to,
        }
        for instance_key, answer in answers.items()
    ]
    if not rows:
        return
    statement = insert(connection, instance_deliveries)
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["delivery_key", "instance_key"],
            set_={
                "status": new.status,
                "delivered": new.delivered,
                "warning": new.warning,
                "detail": new.detail,
                "answered_at": new.answered_at,
                "transcoded_to": new.transcoded_to,
            },
            where=sa.or_(~instance_deliveries.c.delivered, new.delivered),
        ),
        rows,
    )


def warned_instances(connection: Connection, held: Claim) -> tuple[int, tuple[str, str] | None]:
    """Return how many instances a PACS has with a warning; status and words of the first."""
    i = instance_deliveries.c
    warned = sa.and_(i.delivery_key == held.key, i.delivered, i.warning)
    number = connection.execute(sa.select(sa.func.count()).where(warned)).scalar_one()
    first = sa.select(i.status, i.detail).where(warned).order_by(i.answered_at, i.instance_key)
    row = connection.execute(first.limit(1)).first() if number else None
    return number, (row.status, row.detail) if row else None
