"""Bytes that were kept but are not published, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.parents import store_associations
from intu_fhir.db.pruning import want_removed
from intu_fhir.db.tables import quarantine
from intu_fhir.db.uploads import Upload, want_uploads
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.instance import InstanceHeader, Origin


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One object to be recorded as quarantined.

    Args:
        spool: name of the spool in which its file waits for its upload; empty = it does not.
        left_behind: file that is still to be removed from where these bytes were before, if any.
    """

    header: InstanceHeader
    origin: Origin
    reason: str
    detail: str
    file: str
    sha256: str
    stored_sha256: str
    received_at: datetime
    data_set_offset: int = 0
    spool: str = ""
    left_behind: str = ""


def is_quarantined(connection: Connection, sop_instance_uid: str, sha256: str) -> bool:
    """Say whether these very bytes are in quarantine already."""
    found = sa.select(sa.literal(1)).where(
        quarantine.c.sop_instance_uid == sop_instance_uid, quarantine.c.sha256 == sha256
    )
    return connection.execute(found.limit(1)).first() is not None


def quarantined_as(connection: Connection, sop_instance_uid: str) -> int | None:
    """Return the number of the newest object with this UID; None where there is none."""
    found = sa.select(sa.func.max(quarantine.c.quarantine_key)).where(
        quarantine.c.sop_instance_uid == sop_instance_uid
    )
    number: int | None = connection.execute(found).scalar_one()
    return number


def store_quarantined(connection: Connection, item: Quarantined, *, receiver: str) -> None:
    """Record an object whose file is in quarantine."""
    store_associations(connection, [item.origin], item.received_at, receiver)
    connection.execute(
        sa.insert(quarantine).values(
            association_id=item.origin.association_id,
            reason=item.reason,
            detail=item.detail,
            sop_instance_uid=item.header.sop_instance_uid,
            study_instance_uid=item.header.study_instance_uid,
            series_instance_uid=item.header.series_instance_uid,
            file=item.file,
            sha256=item.sha256,
            stored_sha256=item.stored_sha256,
            received_at=item.received_at,
        )
    )
    if item.left_behind:
        want_removed(connection, [item.left_behind], item.received_at)
    if item.spool:
        upload = Upload(item.file, item.data_set_offset, item.sha256)
        want_uploads(connection, item.spool, [upload], item.received_at)


def take_out(
    connection: Connection,
    quarantine_key: int,
    *,
    by: str,
    reason: str,
    now: datetime,
    address: str = "",
) -> bool:
    """Drop an object from quarantine by a person's decision; False where there is none.

    Its file is written down for removal, which ``Prune.remove_files`` does afterwards.

    Args:
        address: where they came from, where they are not at the machine.
    """
    its_own = quarantine.c.quarantine_key == quarantine_key
    row = connection.execute(sa.select(quarantine).where(its_own)).one_or_none()
    if row is None or connection.execute(sa.delete(quarantine).where(its_own)).rowcount == 0:
        return False
    want_removed(connection, [row.file], now)
    record_audit(
        connection,
        AuditEvent(
            Action.DELETED,
            now,
            by,
            address=address,
            study_instance_uid=row.study_instance_uid,
            association_id=row.association_id,
            objects=1,
            reason=": ".join(filter(None, (f"taken out of quarantine ({row.reason})", reason))),
        ),
    )
    return True
