"""What goes beside an ImagingStudy, and what of it each FHIR server has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.deliveries import Known
from intu_fhir.db.tables import companions, delivered_resources, deliveries
from intu_fhir.db.upsert import insert
from intu_fhir.model.canonical import canonical_json, read_exact
from intu_fhir.model.companion import SHARED, Companion, Identity
from intu_fhir.model.delivered import DeliveredResource
from intu_fhir.model.work import Claim

_CHUNK = 400
"""Identifiers of one statement; both databases bound its parameters."""


def store_companions(connection: Connection, resource_key: int, built: Sequence[Companion]) -> None:
    """Keep what was built beside an ImagingStudy; building it again replaces it."""
    connection.execute(sa.delete(companions).where(companions.c.resource_key == resource_key))
    rows = [
        {
            "resource_key": resource_key,
            "kind": one.kind,
            "resource_type": one.identity.resource_type,
            "identifier": _identifier(one.identity),
            "source_uid": one.source_uid,
            "series": list(one.series),
            "resource": canonical_json(one.resource).decode(),
        }
        for one in built
    ]
    if rows:
        connection.execute(sa.insert(companions), rows)


def companions_of(connection: Connection, resource_key: int) -> list[Companion]:
    """Return what goes beside an ImagingStudy, in the order it was built in."""
    rows = connection.execute(
        sa.select(companions)
        .where(companions.c.resource_key == resource_key)
        .order_by(companions.c.companion_key)
    )
    return [
        Companion(
            kind=row.kind,
            identity=_identity(row),
            resource=read_exact(row.resource),
            source_uid=row.source_uid,
            series=tuple(row.series),
        )
        for row in rows
    ]


def delivered_with(
    connection: Connection, destination: str, identities: Iterable[Identity]
) -> dict[Identity, DeliveredResource]:
    """Return what a destination has of these resources, whatever study brought them."""
    wanted = set(identities)
    found: dict[Identity, DeliveredResource] = {}
    for some in _chunks(sorted({_identifier(one) for one in wanted})):
        rows = connection.execute(
            sa.select(delivered_resources).where(
                delivered_resources.c.destination == destination,
                delivered_resources.c.identifier.in_(some),
            )
        )
        found |= {one.identity: one for one in map(_delivered, rows) if one.identity in wanted}
    return found


def delivered_of(
    connection: Connection, destination: str, study_key: int
) -> list[DeliveredResource]:
    """Return what a destination has of one study alone."""
    rows = connection.execute(
        sa.select(delivered_resources)
        .where(
            delivered_resources.c.destination == destination,
            delivered_resources.c.study_key == study_key,
        )
        .order_by(delivered_resources.c.delivered_resource_key)
    )
    return list(map(_delivered, rows))


def record_delivered(
    connection: Connection,
    destination: str,
    delivered: Sequence[DeliveredResource],
    now: datetime,
) -> None:
    """Keep what a server has confirmed."""
    rows = [
        {
            "destination": destination,
            "study_key": None if one.kind in SHARED else one.study_key,
            "kind": one.kind,
            "resource_type": one.identity.resource_type,
            "identifier": _identifier(one.identity),
            "server_id": one.server_id,
            "server_version": one.version,
            "content_hash": one.content_hash,
            "delivered_at": now,
            "withdrawn_at": now if one.withdrawn else None,
        }
        for one in delivered
    ]
    if not rows:
        return
    statement = insert(connection, delivered_resources)
    new = statement.excluded
    changed = ("study_key", "server_id", "server_version", "content_hash")
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["destination", "resource_type", "identifier"],
            set_={
                **{name: getattr(new, name) for name in changed},
                "delivered_at": new.delivered_at,
                "withdrawn_at": new.withdrawn_at,
            },
        ),
        rows,
    )


def record_study_place(connection: Connection, held: Claim, at: Known) -> None:
    """Keep where the study is at a server, before all that goes beside it has got there.

    A worker that has lost the study meanwhile writes nothing: the next one may know better.
    What was remarked on this very content before still holds: it was not sent again.
    """
    d = deliveries.c
    is_same = d.content_hash == at.content_hash
    connection.execute(
        sa.update(deliveries)
        .where(d.delivery_key == held.key, d.fence == held.fence)
        .values(
            server_id=at.server_id,
            server_version=at.server_version,
            content_hash=at.content_hash,
            warning=sa.case((is_same, d.warning), else_=at.warning),
        )
    )


def _identifier(identity: Identity) -> str:
    return f"{identity.system}|{identity.value}"


def _identity(row: Any) -> Identity:
    system, _, value = row.identifier.partition("|")
    return Identity(row.resource_type, system, value)


def _delivered(row: Any) -> DeliveredResource:
    return DeliveredResource(
        kind=row.kind,
        identity=_identity(row),
        study_key=row.study_key,
        server_id=row.server_id,
        version=row.server_version,
        content_hash=row.content_hash,
        withdrawn=row.withdrawn_at is not None,
    )


def _chunks(values: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(values), _CHUNK):
        yield values[begin : begin + _CHUNK]
