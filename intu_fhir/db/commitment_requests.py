"""Requests for storage commitment on their way in: one row each, however much they ask for.

What a request names is packed into its row, so that taking it costs images nothing; a worker
gives it rows of its own afterwards, a few at a time (``db.commitments``).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.parents import store_associations
from intu_fhir.db.tables import associations
from intu_fhir.db.tables import storage_commitment_items as items
from intu_fhir.db.tables import storage_commitments as commitments
from intu_fhir.db.upsert import insert
from intu_fhir.model.commitment import (
    CHECKED,
    RECEIVED,
    REPORTED,
    UNREPORTED,
    CommitmentAsked,
    ReferencedInstance,
)
from intu_fhir.model.instance import Origin

_FAST = 1
ANEW: Mapping[str, Any] = {
    "reached": 0,
    "attempts": 0,
    "last_error": "",
    "checked_at": None,
    "holds_until": None,
}
"""What a request has that is worked on from its beginning: what was seen before counts no more."""


def pack(asked: Iterable[ReferencedInstance]) -> tuple[bytes, str]:
    """Return instances as bytes, and a digest of them."""
    text = "\n".join(" ".join(instance) for instance in asked).encode("ascii")
    return zlib.compress(text, _FAST), hashlib.sha256(text).hexdigest()


def unpack(packed: bytes) -> tuple[ReferencedInstance, ...]:
    """Return what ``pack`` was given; nothing of no bytes."""
    if not packed:
        return ()
    lines = zlib.decompress(packed).decode("ascii").split("\n")
    return tuple(ReferencedInstance(*line.split(" ")) for line in lines)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits to be told: of everybody, and of one requester."""

    requests: int
    instances: int
    requests_of_one: int
    instances_of_one: int


def waiting(connection: Connection, origin: Origin) -> Waiting:
    """Return how much waits; one requester is an AE title, and an address, whatever it says."""
    c = commitments.c
    is_one = c.calling_ae_title == origin.calling_ae_title
    if origin.peer_address:
        is_one |= associations.c.peer_address == origin.peer_address
    found = (
        sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(c.number_of_instances), 0),
            sa.func.coalesce(sa.func.sum(sa.case((is_one, 1), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(sa.case((is_one, c.number_of_instances), else_=0)), 0),
        )
        .join_from(commitments, associations)
        .where(c.due_at.is_not(None))
    )
    return Waiting(*map(int, connection.execute(found).one()))


def store_request(
    connection: Connection, origin: Origin, asked: CommitmentAsked, now: datetime, *, receiver: str
) -> None:
    """Store a request, which is due at once.

    One that repeats an earlier one of this requester word for word is that one: its answer was
    lost, or its result. Another one with the same Transaction UID is a repeat, which is refused
    as a whole when its result is told (PS3.3 C.14.1.1, 0131).
    """
    store_associations(connection, [origin], now, receiver)
    packed, digest = pack(asked.instances)
    row = {
        "association_id": origin.association_id,
        "calling_ae_title": origin.calling_ae_title,
        "transaction_uid": asked.transaction_uid,
        "state": RECEIVED,
        "asked_at": now,
        "due_at": now,
        "number_of_instances": len(asked.instances),
        "packed": packed,
        "digest": digest,
    }
    first = insert(connection, commitments).values(row).on_conflict_do_nothing()
    key = connection.execute(first.returning(commitments.c.commitment_key)).scalar_one_or_none()
    if key is None and not _ask_again(connection, origin, row):
        repeat = row | {"is_repeat": True, "failed": len(asked.instances)}
        connection.execute(sa.insert(commitments).values(repeat))


def _ask_again(connection: Connection, origin: Origin, row: dict[str, Any]) -> bool:
    """Let the same request of before be told on this association; False where it is another."""
    c = commitments.c
    found = sa.select(
        c.commitment_key, c.state, c.digest, c.association_id, c.fence, c.number_of_instances
    ).where(
        c.calling_ae_title == row["calling_ae_title"],
        c.transaction_uid == row["transaction_uid"],
        ~c.is_repeat,
    )
    before = connection.execute(found.with_for_update()).one_or_none()
    if before is None or before.number_of_instances != row["number_of_instances"]:
        return False
    if not _is_of(connection, before.association_id, origin):
        return False
    digest = before.digest or _digest_of_listed(connection, before.commitment_key)
    if digest != row["digest"]:
        return False
    changes: dict[str, Any] = {"association_id": row["association_id"], "digest": digest}
    if before.state in {REPORTED, UNREPORTED}:
        # Whatever holds it open is late: the instances are listed and looked at anew.
        changes |= {key: row[key] for key in ("state", "asked_at", "due_at", "packed")}
        changes |= {"fence": before.fence + 1, **ANEW}
    elif before.state == CHECKED:
        # A result on its way answers what was asked before, and does not end what is asked now.
        changes |= {"due_at": row["due_at"], "fence": before.fence + 1}
    connection.execute(
        sa.update(commitments).where(c.commitment_key == before.commitment_key).values(changes)
    )
    return True


def _digest_of_listed(connection: Connection, key: int) -> str:
    """Return the digest of a request that has none: an older version gave it rows at once."""
    i = items.c
    found = sa.select(i.sop_class_uid, i.sop_instance_uid).where(i.commitment_key == key)
    listed = connection.execute(found.order_by(i.number))
    return pack(ReferencedInstance(*one) for one in listed)[1]


def _is_of(connection: Connection, association_id: str, origin: Origin) -> bool:
    """Say whether the requester of an association is the one of another: channel and called too."""
    of = associations.c
    found = sa.select(of.channel, of.called_ae_title).where(of.association_id == association_id)
    return tuple(connection.execute(found).one()) == (origin.channel, origin.called_ae_title)
