"""Staged rows for tests, made by the product's own functions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from intu_fhir.db.described import Described, Undescribed, store_described, undescribed
from intu_fhir.db.instances import NewInstance, StagedAs, store_instances
from intu_fhir.db.session import Database
from intu_fhir.model.instance import InstanceHeader, Origin
from intu_fhir.model.values import Values

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


def origin(association_id: str = "a1", channel: str = "radiology") -> Origin:
    """Return an association of a modality."""
    return Origin(association_id, channel, calling_ae_title="CT1", called_ae_title="INTU_SCP")


def header(
    study: str = "1.2.3", series: str = "", instance: str = "", **values: str
) -> InstanceHeader:
    """Return the scanned header of one instance."""
    series = series or f"{study}.1"
    instance = instance or f"{series}.{uuid.uuid4().int % 10**12}"
    staged: Values = {"PatientID": "P1", "Modality": "CT", **values}
    return InstanceHeader(study, series, instance, CT_STORAGE, EXPLICIT_LITTLE, staged)


def new_instance(
    now: datetime,
    one: InstanceHeader,
    *,
    quiet_seconds: float = 30.0,
    sha256: str = "",
    came_by: Origin | None = None,
) -> NewInstance:
    """Return a durable file's row to be."""
    return NewInstance(
        header=one,
        origin=came_by or origin(),
        file=f"instances/{uuid.uuid4().hex}.dcm",
        data_set_offset=300,
        data_set_bytes=1000,
        sha256=sha256 or uuid.uuid4().hex * 2,
        received_at=now,
        first_look_seconds=quiet_seconds,
    )


def store(database: Database, *items: NewInstance) -> list[StagedAs]:
    """Store instances in one transaction."""
    with database.write() as connection:
        return store_instances(connection, items, receiver="here")


def described(
    item: Undescribed, shared: Values | None = None, dicom_json: dict[str, Any] | None = None
) -> Described:
    """Return the complete header of an instance."""
    return Described(
        instance_key=item.instance_key,
        series_key=item.series_key,
        dicom_json=dicom_json or {},
        shared=shared or {"PatientID": "P1", "Modality": "CT"},
        digest=str(sorted((shared or {}).items())),
        attributes={"InstanceNumber": "1"},
        staged_by="",
    )


def describe_all(
    database: Database, now: datetime, shared: Values | None = None
) -> Sequence[Described]:
    """Stage a header for every instance that has none."""
    with database.read() as connection:
        waiting = undescribed(connection, 10_000)
    found = [described(item, shared) for item in waiting]
    if found:
        with database.write() as connection:
            store_described(connection, found, now)
    return found
