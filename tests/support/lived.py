"""A database with life in it: a row for each query that we ship."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db import tables as t
from tests.support.clock import START
from tests.support.seeded import stage


def live(connection: Connection) -> None:
    """Put studies in place that came late, failed, were held or disagree with themselves."""
    states = {"ehr_fhir": "dead", "pacs_archive": "retrying"}
    key = stage(connection, "one", deliveries=states, accession_number="A1", modalities="CT")
    stage(connection, "two", accession_number="A1", modalities="MR", deliveries=states)
    stage(connection, "three", modalities="CT")
    connection.execute(sa.update(t.studies).values(generation=2))
    for generation in (1, 2):
        _add(
            connection,
            t.generations,
            study_key=key,
            generation=generation,
            revision=generation,
            settled_at=START,
            evidence="quiet",
            number_of_series=1,
            number_of_instances=generation,
        )
    _add(
        connection,
        t.resources,
        study_key=key,
        generation=2,
        release="r4",
        mapping_version="imaging_study:1",
        channel="radiology",
        built_at=START,
        state="valid",
        content_hash="abc",
        resource={"resourceType": "ImagingStudy", "started": "2024-02-29", "numberOfInstances": 2},
        findings=[],
    )
    _add(connection, t.holds, study_key=key, destination="", reason="patient_conflict", detail="",
         generation=1, held_at=START)  # fmt: skip
    _describe(connection)
    delivery, instance = (
        connection.execute(sa.select(sa.func.min(column))).scalar_one()
        for column in (t.deliveries.c.delivery_key, t.instances.c.instance_key)
    )
    _tries(connection, delivery)
    _dose(connection)
    _add(
        connection,
        t.instance_deliveries,
        delivery_key=delivery,
        instance_key=instance,
        status="B000",
        delivered=True,
        warning=True,
        answered_at=START,
    )


def _tries(connection: Connection, delivery: int) -> None:
    for number, outcome in enumerate(("retrying", "delivered"), 1):
        _add(connection, t.attempts, delivery_key=delivery, generation=2, number=number,
             started_at=START, ended_at=START, outcome=outcome, status="503")  # fmt: skip


def _dose(connection: Connection) -> None:
    """Put a number of a dose report beside the resource that is there."""
    number = {
        "code": {"coding": [{"system": "DCM", "code": "113813", "display": "DLP"}]},
        "valueQuantity": {"value": 1.5, "unit": "mGy.cm"},
    }
    resource = connection.execute(sa.select(t.resources.c.resource_key)).scalar_one()
    _add(connection, t.companions, resource_key=resource, kind="dose", identifier="a|b",
         resource_type="Observation", series=[],
         resource=orjson.dumps({"component": [number]}).decode())  # fmt: skip


def _describe(connection: Connection) -> None:
    series_key = connection.execute(sa.select(sa.func.min(t.series.c.series_key))).scalar_one()
    for digest in ("1" * 64, "2" * 64):
        attributes = {"InstitutionName": f"Hospital {digest[:1]}"}
        _add(
            connection,
            t.header_groups,
            series_key=series_key,
            digest=digest,
            attributes=attributes,
        )
    group = sa.select(sa.func.min(t.header_groups.c.header_group_key)).scalar_subquery()
    connection.execute(sa.update(t.instances).values(header_group_key=group))
    for instance_key in connection.execute(sa.select(t.instances.c.instance_key)).scalars().all():
        header = {"00180050": {"vr": "DS", "Value": [2.5]}}
        _add(connection, t.headers, instance_key=instance_key, dicom_json=header)


def _add(connection: Connection, table: sa.Table, **values: Any) -> None:
    connection.execute(table.insert().values(**values))
