"""Complete headers, filled in after the answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import associations, header_groups, headers, instances, uploads
from intu_fhir.db.upsert import insert
from intu_fhir.model.finding import Finding
from intu_fhir.model.values import Values


@dataclass(frozen=True, slots=True)
class Undescribed:
    """An instance whose complete header is not staged yet."""

    instance_key: int
    series_key: int
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: str
    data_set_offset: int
    calling_ae_title: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """The complete header of one instance.

    Args:
        shared: patient, study and series attributes, mostly the same over a series.
        digest: identifies ``shared``.
        attributes: the instance's own attributes.
        staged_by: digest of the list of attributes that were looked for.
    """

    instance_key: int
    series_key: int
    dicom_json: dict[str, Any]
    shared: Values
    digest: str
    attributes: Values
    staged_by: str
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance without a complete header, as a look along them shows it.

    Args:
        is_here: its bytes can be read now; else they wait in the spool of another machine.
    """

    instance_key: int
    received_at: datetime
    is_here: bool


def look_along(
    connection: Connection, here: str, limit: int, *, after: int = 0, until: int | None = None
) -> list[Seen]:
    """Return the next instances without a complete header by their keys, wherever their bytes are.

    Args:
        here: name of this machine's spool.
        until: the last key to look at.
    """
    # Looked up for each row, never joined: what waits in all spools is not read for it.
    spool = sa.select(uploads.c.spool).where(uploads.c.file == instances.c.file)
    c = instances.c
    ends = [] if until is None else [c.instance_key <= until]
    rows = connection.execute(
        sa.select(c.instance_key, c.received_at, spool.scalar_subquery())
        .where(c.described_at.is_(None), c.instance_key > after, *ends)
        .order_by(c.instance_key)
        .limit(limit)
    )
    return [Seen(key, at, spool is None or spool == here) for key, at, spool in rows]


def undescribed(
    connection: Connection, limit: int, here: str = "", keys: Collection[int] | None = None
) -> list[Undescribed]:
    """Return instances without a complete header whose bytes can be read now, oldest first.

    Args:
        here: name of this machine's spool; what still waits in another one comes later.
        keys: only of these. Without them all that waits elsewhere may be gone over.
    """
    elsewhere = sa.select(sa.literal(1)).where(
        uploads.c.file == instances.c.file, uploads.c.spool != here
    )
    among = [] if keys is None else [instances.c.instance_key.in_(keys)]
    rows = connection.execute(
        sa.select(
            instances.c.instance_key,
            instances.c.series_key,
            instances.c.sop_instance_uid,
            instances.c.transfer_syntax_uid,
            instances.c.file,
            instances.c.data_set_offset,
            associations.c.calling_ae_title,
        )
        .join(associations, associations.c.association_id == instances.c.association_id)
        .where(instances.c.described_at.is_(None), ~elsewhere.exists(), *among)
        .order_by(instances.c.instance_key)
        .limit(limit)
    )
    return [Undescribed(*row) for row in rows]


def store_described(connection: Connection, found: Sequence[Described], now: datetime) -> None:
    """Stage complete headers; an instance that has one keeps it."""
    connection.execute(
        insert(connection, headers).on_conflict_do_nothing(),
        [
            {
                "instance_key": item.instance_key,
                "dicom_json": item.dicom_json,
                "findings": [finding.as_dict() for finding in item.findings] or None,
            }
            for item in found
        ],
    )
    group_keys = _group_keys(connection, found)
    for item in found:
        connection.execute(
            sa.update(instances)
            .where(instances.c.instance_key == item.instance_key)
            .values(
                attributes=item.attributes,
                header_group_key=group_keys[item.series_key, item.digest],
                described_at=now,
                staged_by=item.staged_by,
            )
        )


def _group_keys(connection: Connection, found: Sequence[Described]) -> dict[tuple[int, str], int]:
    """Return the key of each distinct header of a series, stored where it is new."""
    groups = {(item.series_key, item.digest): item.shared for item in found}
    connection.execute(
        insert(connection, header_groups).on_conflict_do_nothing(),
        [
            {"series_key": series_key, "digest": digest, "attributes": shared}
            for (series_key, digest), shared in sorted(groups.items(), key=lambda kv: kv[0])
        ],
    )
    rows = connection.execute(
        sa.select(
            header_groups.c.series_key,
            header_groups.c.digest,
            header_groups.c.header_group_key,
        ).where(
            header_groups.c.series_key.in_({series_key for series_key, _ in groups}),
            header_groups.c.digest.in_({digest for _, digest in groups}),
        )
    )
    return {(series_key, digest): key for series_key, digest, key in rows}
