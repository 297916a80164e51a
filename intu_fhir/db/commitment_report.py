"""Requests for storage commitment, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.commitment_requests import unpack
from intu_fhir.db.conditions import LIMIT, all_of, given
from intu_fhir.db.tables import associations
from intu_fhir.db.tables import storage_commitment_items as items
from intu_fhir.db.tables import storage_commitments as commitments
from intu_fhir.model.commitment import FailureReason


@dataclass(frozen=True, slots=True)
class CommitmentRow:
    """One request, for people to look at."""

    asked_at: datetime
    calling_ae_title: str
    channel: str
    transaction_uid: str
    is_repeat: bool
    state: str
    number_of_instances: int
    failed: int
    due_at: datetime | None
    reported_at: datetime | None
    attempts: int
    last_error: str


def list_commitments(
    connection: Connection,
    *,
    state: str | None = None,
    requester: str | None = None,
    limit: int = LIMIT,
) -> list[CommitmentRow]:
    """Return requests for storage commitment, the newest first."""
    c = commitments.c
    found = (
        sa.select(
            c.asked_at,
            c.calling_ae_title,
            associations.c.channel,
            c.transaction_uid,
            c.is_repeat,
            c.state,
            c.number_of_instances,
            c.failed,
            c.due_at,
            c.reported_at,
            c.attempts,
            c.last_error,
        )
        .join_from(commitments, associations, associations.c.association_id == c.association_id)
        .where(*all_of(given(c.state.__eq__, state), given(c.calling_ae_title.__eq__, requester)))
        .order_by(c.asked_at.desc(), c.commitment_key.desc())
        .limit(limit)
    )
    return [CommitmentRow(**row) for row in connection.execute(found).mappings()]


@dataclass(frozen=True, slots=True)
class CommitmentItem:
    """One instance of a request, and what became of it; empty where it was not looked at yet."""

    number: int
    sop_class_uid: str
    sop_instance_uid: str
    result: str


def list_items(connection: Connection, transaction_uid: str) -> list[CommitmentItem]:
    """Return the instances of a transaction, in the order they were asked for."""
    found = (
        sa.select(items.c.number, items.c.sop_class_uid, items.c.sop_instance_uid, items.c.result)
        .join_from(items, commitments, commitments.c.commitment_key == items.c.commitment_key)
        .where(commitments.c.transaction_uid == transaction_uid)
        .order_by(commitments.c.commitment_key, items.c.number)
    )
    listed = [CommitmentItem(*row) for row in connection.execute(found)]
    return listed + _unlisted(connection, transaction_uid)


def _unlisted(connection: Connection, transaction_uid: str) -> list[CommitmentItem]:
    """Return those that have no rows of their own: of repeats, and of what came just now."""
    c = commitments.c
    found = (
        sa.select(c.packed, c.reached, c.is_repeat)
        .where(c.transaction_uid == transaction_uid, c.packed.is_not(None))
        .order_by(c.commitment_key)
    )
    repeated = f"{FailureReason.DUPLICATE_TRANSACTION_UID:04X}"
    return [
        CommitmentItem(number, *instance, repeated if is_repeat else "")
        for packed, reached, is_repeat in connection.execute(found)
        for number, instance in enumerate(unpack(packed), start=1)
        if number > reached
    ]
