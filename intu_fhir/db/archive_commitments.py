"""Requests to PACS to promise that they keep images: planned, claimed, sent (PS3.4 annex J).

A request is planned in the transaction that notes a delivery, so that none is forgotten. A claim
pushes ``due_at`` into the future and raises ``fence``: a worker that dies on a request only
delays it, and one that was too slow changes nothing any more. Which request an instance is in
stands in ``instance_deliveries.request_key``.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.following import let_followers_go
from intu_fhir.db.tables import archive_commitments as requests
from intu_fhir.db.tables import deliveries, instance_deliveries, instances
from intu_fhir.db.work import NO_FAILURE
from intu_fhir.errors import StaleClaim
from intu_fhir.model.archive_commitment import (
    ASKED,
    ASKING,
    DROPPED,
    KEPT,
    MISSING,
    OPEN,
    PLANNED,
    WANTED,
    AskClaim,
)
from intu_fhir.model.commitment import ReferencedInstance
from intu_fhir.model.work import DEAD, DELIVERED

_AT_A_TIME = 500


def plan(connection: Connection, delivery_key: int, *, max_instances: int, now: datetime) -> int:
    """Ask for a promise of all that a PACS has taken and was not asked for; return how many.

    What an open request asks for already is left to that one. Where nothing is left to be asked
    for, the promise may be complete: a generation without new images needs no new one.
    """
    wanted = _unasked(connection, delivery_key)
    if not wanted:
        close_ledger(connection, delivery_key, now)
        return 0
    number = 1 + max(row.number or 0 for row in wanted)
    keys = [row.instance_key for row in wanted]
    for begin in range(0, len(keys), max_instances):
        some = keys[begin : begin + max_instances]
        insert_request(connection, delivery_key, some, number=number, now=now, due_at=now)
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.delivery_key == delivery_key)
        .values(commitment=WANTED, committed_at=None)
    )
    return len(keys)


def _unasked(connection: Connection, delivery_key: int) -> Sequence[Any]:
    """Return the instances that a request has to name, each with the number of its last one."""
    i, r = instance_deliveries.c, requests.c
    number = sa.case((r.given_up, 0), else_=r.number).label("number")
    found = (
        sa.select(i.instance_key, number)
        .join_from(instance_deliveries, requests, r.request_key == i.request_key, isouter=True)
        .where(
            i.delivery_key == delivery_key,
            i.delivered,
            i.committed_at.is_(None),
            sa.or_(i.request_key.is_(None), r.state.not_in(OPEN)),
        )
        .order_by(i.instance_key)
    )
    return connection.execute(found).all()


def insert_request(
    connection: Connection,
    delivery_key: int,
    instance_keys: Sequence[int],
    *,
    number: int,
    now: datetime,
    due_at: datetime,
) -> None:
    """Plan one request for some instances of a delivery."""
    d = deliveries.c
    destination = sa.select(d.destination).where(d.delivery_key == delivery_key).scalar_subquery()
    row = sa.insert(requests).values(
        delivery_key=delivery_key,
        destination=destination,
        transaction_uid=f"2.25.{uuid.uuid4().int}",
        state=PLANNED,
        number=number,
        number_of_instances=len(instance_keys),
        planned_at=now,
        due_at=due_at,
    )
    key = connection.execute(row.returning(requests.c.request_key)).scalar_one()
    for begin in range(0, len(instance_keys), _AT_A_TIME):
        some = instance_keys[begin : begin + _AT_A_TIME]
        connection.execute(
            sa.update(instance_deliveries)
            .where(
                instance_deliveries.c.delivery_key == delivery_key,
                instance_deliveries.c.instance_key.in_(some),
            )
            .values(request_key=key)
        )


def close_ledger(connection: Connection, delivery_key: int, now: datetime) -> bool:
    """Note that a PACS has promised all it was sent of a study, if it has; say whether.

    ``lock_study`` first: who comes after this destination looks again.
    """
    i, d = instance_deliveries.c, deliveries.c
    of_delivery = sa.select(sa.literal(1)).where(i.delivery_key == delivery_key)
    if connection.execute(of_delivery.where(i.committed_at.is_(None)).limit(1)).first():
        return False
    if not connection.execute(of_delivery.limit(1)).first():
        return False
    its_own = d.delivery_key == delivery_key
    # It was a dead letter for want of this promise alone.
    connection.execute(
        sa.update(deliveries)
        .where(its_own, d.state == DEAD, d.commitment == MISSING)
        .values(state=DELIVERED, attempts=0, backlog=False, **NO_FAILURE)
    )
    closed = (
        sa.update(deliveries)
        .where(its_own)
        .values(
            commitment=KEPT,
            committed_at=sa.case((d.commitment == KEPT, d.committed_at), else_=now),
            committed_generation=d.have,
            updated_at=now,
        )
        .returning(d.study_key, d.destination)
    )
    study_key, destination = connection.execute(closed).one()
    let_followers_go(connection, study_key, destination, now=now)
    return True


def is_due(connection: Connection, destination: str, now: datetime) -> bool:
    """Say whether a PACS is to be asked something, or has not answered in time."""
    r = requests.c
    due = sa.select(sa.literal(1)).where(
        r.destination == destination, r.state.in_(OPEN), r.due_at.is_not(None), r.due_at <= now
    )
    return connection.execute(due.limit(1)).first() is not None


def claim(
    connection: Connection, destination: str, now: datetime, *, lease_seconds: float, limit: int
) -> list[AskClaim]:
    """Take planned requests that are due, those that have been so for longest first."""
    r = requests.c
    names = [name for name in AskClaim.__slots__ if name not in {"key", "fence"}]
    due = (
        sa.select(r.request_key.label("key"), (r.fence + 1).label("fence"), *(r[n] for n in names))
        .where(
            r.destination == destination,
            r.state == PLANNED,
            r.due_at.is_not(None),
            r.due_at <= now,
        )
        .order_by(r.due_at, r.request_key)
        .limit(limit)
        .with_for_update(skip_locked=True, of=requests)
    )
    held = [AskClaim(**row) for row in connection.execute(due).mappings()]
    connection.execute(
        sa.update(requests)
        .where(r.request_key.in_([one.key for one in held]))
        .values(state=ASKING, due_at=now + timedelta(seconds=lease_seconds), fence=r.fence + 1)
    )
    return held


def instances_of(connection: Connection, held: AskClaim) -> list[ReferencedInstance]:
    """Return what a request asks for."""
    i = instance_deliveries.c
    found = (
        sa.select(instances.c.sop_class_uid, instances.c.sop_instance_uid)
        .join_from(instance_deliveries, instances, instances.c.instance_key == i.instance_key)
        .where(i.delivery_key == held.delivery_key, i.request_key == held.key)
        .order_by(i.instance_key)
    )
    return [ReferencedInstance(*row) for row in connection.execute(found)]


def asked(connection: Connection, held: AskClaim, now: datetime, until: datetime) -> None:
    """Note that the PACS has taken a request; its result has to come by ``until``.

    Raises:
        StaleClaim: its result came before, or it took too long.
    """
    _write(connection, held, state=ASKED, asked_at=now, due_at=until, last_error="")


def still_open(connection: Connection, transaction_uids: Collection[str]) -> set[str]:
    """Return those of some transactions whose results have not come."""
    r = requests.c
    found = sa.select(r.transaction_uid).where(
        r.transaction_uid.in_(transaction_uids), r.state.in_(OPEN)
    )
    return set(connection.execute(found).scalars())


def put_back(connection: Connection, held: AskClaim, due_at: datetime, error: str = "") -> None:
    """Let a request that did not reach the PACS be due again; with an ``error`` it has failed.

    Raises:
        StaleClaim: another worker has it now.
    """
    changes: dict[str, Any] = {"state": PLANNED, "due_at": due_at}
    if error:
        changes |= {"attempts": held.attempts + 1, "last_error": error}
    _write(connection, held, **changes)


def _write(connection: Connection, held: AskClaim, **values: Any) -> None:
    r = requests.c
    written = connection.execute(
        sa.update(requests)
        .where(r.request_key == held.key, r.fence == held.fence, r.state == ASKING)
        .values(**values)
    )
    if written.rowcount != 1:
        raise StaleClaim("This request for storage commitment has ended, or another worker has it")


def drop_others(connection: Connection, destinations: Collection[str]) -> int:
    """End the open requests to all but these destinations; return how many there were.

    Nobody asks for a promise of the others any more, so that nothing may wait for one.
    """
    r, d = requests.c, deliveries.c
    others = (r.destination.not_in(destinations), r.due_at.is_not(None))
    connection.execute(
        sa.update(deliveries)
        .where(d.delivery_key.in_(sa.select(r.delivery_key).where(*others)))
        .values(commitment="")
    )
    dropped = sa.update(requests).where(*others).values(state=DROPPED, due_at=None)
    return int(connection.execute(dropped).rowcount)
