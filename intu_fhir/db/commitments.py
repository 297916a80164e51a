"""Requests for storage commitment: asked for, checked, reported (PS3.4 annex J).

A claim pushes ``due_at`` into the future and raises ``fence``: a worker that dies on a request
only delays it, and one that was too slow changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import LIMIT, all_of, given
from intu_fhir.db.parents import store_associations
from intu_fhir.db.tables import associations, instances
from intu_fhir.db.tables import storage_commitment_items as items
from intu_fhir.db.tables import storage_commitments as commitments
from intu_fhir.db.upsert import insert
from intu_fhir.errors import StaleClaim
from intu_fhir.model.commitment import (
    ASKED,
    CHECKED,
    REPORTED,
    UNREPORTED,
    CommitmentAsked,
    CommitmentClaim,
    CommitmentResult,
    ReferencedInstance,
)
from intu_fhir.model.instance import Origin

COMMITTED = "committed"
_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True)
class Unchecked:
    """One instance that was asked for, with what is staged of it, if it is."""

    number: int
    sop_class_uid: str
    sop_instance_uid: str
    staged_class_uid: str | None
    file: str | None
    data_set_offset: int | None
    sha256: str | None


def store_request(
    connection: Connection,
    origin: Origin,
    asked: CommitmentAsked,
    now: datetime,
    *,
    receiver: str,
    max_waiting: int,
) -> bool:
    """Store a request, which is due at once; False where too many wait already."""
    waiting = sa.select(sa.func.count()).where(commitments.c.due_at.is_not(None))
    if connection.execute(waiting).scalar_one() >= max_waiting:
        return False
    store_associations(connection, [origin], now, receiver)
    row = {
        "association_id": origin.association_id,
        "calling_ae_title": origin.calling_ae_title,
        "transaction_uid": asked.transaction_uid,
        "state": ASKED,
        "asked_at": now,
        "due_at": now,
        "number_of_instances": len(asked.instances),
    }
    first = insert(connection, commitments).values(row).on_conflict_do_nothing()
    key = connection.execute(first.returning(commitments.c.commitment_key)).scalar_one_or_none()
    if key is None:
        again = sa.insert(commitments).values(row | {"is_repeat": True})
        key = connection.execute(again.returning(commitments.c.commitment_key)).scalar_one()
    _insert_items(connection, key, asked.instances)
    return True


def _insert_items(connection: Connection, key: int, asked: Sequence[ReferencedInstance]) -> None:
    rows = [
        {
            "commitment_key": key,
            "number": number,
            "sop_class_uid": instance.sop_class_uid,
            "sop_instance_uid": instance.sop_instance_uid,
        }
        for number, instance in enumerate(asked, start=1)
    ]
    for begin in range(0, len(rows), _AT_A_TIME):
        connection.execute(sa.insert(items), rows[begin : begin + _AT_A_TIME])


def is_due(
    connection: Connection,
    state: str,
    now: datetime,
    requesters: Collection[str] | None = None,
) -> bool:
    """Say whether there is something to ``claim``; looking disturbs nobody."""
    due = sa.select(sa.literal(1)).where(*_due(state, now, requesters)).limit(1)
    return connection.execute(due).first() is not None


def _due(
    state: str, now: datetime, requesters: Collection[str] | None
) -> list[sa.ColumnElement[bool]]:
    c = commitments.c
    return all_of(
        [c.state == state, c.due_at.is_not(None), c.due_at <= now],
        given(c.calling_ae_title.in_, requesters),
    )


def claim(
    connection: Connection,
    state: str,
    now: datetime,
    *,
    lease_seconds: float,
    requesters: Collection[str] | None = None,
) -> CommitmentClaim | None:
    """Take the request that has been due longest, or return None.

    Args:
        state: ``asked`` or ``checked``.
        requesters: only those of these AE titles.
    """
    c = commitments.c
    due = (
        sa.select(
            c.commitment_key.label("key"),
            c.transaction_uid,
            c.calling_ae_title.label("requester"),
            associations.c.called_ae_title.label("called"),
            c.association_id,
            c.is_repeat,
            c.fence,
            c.attempts,
        )
        .join(associations, associations.c.association_id == c.association_id)
        .where(*_due(state, now, requesters))
        .order_by(c.due_at, c.commitment_key)
        .limit(1)
        .with_for_update(skip_locked=True, of=commitments)
    )
    row = connection.execute(due).mappings().one_or_none()
    if row is None:
        return None
    held = CommitmentClaim(**{**row, "fence": row["fence"] + 1}, claimed_at=now)
    until = now + timedelta(seconds=lease_seconds)
    connection.execute(
        sa.update(commitments)
        .where(c.commitment_key == held.key)
        .values(due_at=until, fence=held.fence)
    )
    return held


def unchecked(connection: Connection, held: CommitmentClaim, limit: int) -> list[Unchecked]:
    """Return instances of a request that were not looked at yet, with what is staged of them."""
    found = (
        sa.select(
            items.c.number,
            items.c.sop_class_uid,
            items.c.sop_instance_uid,
            instances.c.sop_class_uid,
            # What was pruned is not here any more, so it cannot be promised.
            sa.case((instances.c.pruned_at.is_(None), instances.c.file)),
            instances.c.data_set_offset,
            instances.c.sha256,
        )
        .join_from(
            items,
            instances,
            instances.c.sop_instance_uid == items.c.sop_instance_uid,
            isouter=True,
        )
        .where(items.c.commitment_key == held.key, items.c.result == "")
        .order_by(items.c.number)
        .limit(limit)
    )
    return [Unchecked(*row) for row in connection.execute(found)]


def store_results(
    connection: Connection, held: CommitmentClaim, results: Sequence[tuple[int, str]]
) -> None:
    """Note what became of some instances, by number.

    Args:
        results: ``committed``, or a Failure Reason as four digits.
    """
    if results:
        connection.execute(
            sa.update(items)
            .where(
                items.c.commitment_key == sa.bindparam("of_key"),
                items.c.number == sa.bindparam("of_number"),
            )
            .values(result=sa.bindparam("to_result")),
            [{"of_key": held.key, "of_number": n, "to_result": result} for n, result in results],
        )


def checked(connection: Connection, held: CommitmentClaim, now: datetime) -> None:
    """Note that every instance of a request was looked at; its result is due to be reported.

    Raises:
        StaleClaim: another worker has it now.
    """
    failed = sa.select(sa.func.count()).where(
        items.c.commitment_key == held.key, items.c.result != COMMITTED
    )
    _write(
        connection,
        held,
        state=CHECKED,
        checked_at=now,
        due_at=now,
        failed=failed.scalar_subquery(),
    )


def result(connection: Connection, held: CommitmentClaim) -> CommitmentResult:
    """Return what is to be told of a request whose instances were all looked at."""
    found = connection.execute(
        sa.select(items.c.sop_class_uid, items.c.sop_instance_uid, items.c.result)
        .where(items.c.commitment_key == held.key)
        .order_by(items.c.number)
    )
    committed: list[ReferencedInstance] = []
    failed: list[tuple[ReferencedInstance, int]] = []
    for sop_class_uid, sop_instance_uid, outcome in found:
        instance = ReferencedInstance(sop_class_uid, sop_instance_uid)
        if outcome == COMMITTED:
            committed.append(instance)
        else:
            failed.append((instance, int(outcome, 16)))
    return CommitmentResult(held.transaction_uid, tuple(committed), tuple(failed))


def put_back(
    connection: Connection, held: CommitmentClaim, due_at: datetime, *, error: str = ""
) -> None:
    """Let a request be due again; with an ``error`` it counts as a failed try.

    Raises:
        StaleClaim: another worker has it now.
    """
    changes: dict[str, Any] = {"due_at": due_at}
    if error:
        changes |= {"attempts": held.attempts + 1, "last_error": error}
    _write(connection, held, **changes)


def reported(connection: Connection, held: CommitmentClaim, now: datetime) -> None:
    """Note that the requester has taken the result.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, state=REPORTED, reported_at=now, due_at=None, last_error="")


def given_up(connection: Connection, held: CommitmentClaim, error: str) -> None:
    """Note that the result could not be reported, and is not tried again.

    Raises:
        StaleClaim: another worker has it now.
    """
    attempts = held.attempts + 1
    _write(connection, held, state=UNREPORTED, due_at=None, attempts=attempts, last_error=error)


def _write(connection: Connection, held: CommitmentClaim, **values: Any) -> None:
    c = commitments.c
    written = connection.execute(
        sa.update(commitments)
        .where(c.commitment_key == held.key, c.fence == held.fence)
        .values(**values)
    )
    if written.rowcount != 1:
        raise StaleClaim("Another worker has this request for storage commitment now")


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
    return [CommitmentItem(*row) for row in connection.execute(found)]
