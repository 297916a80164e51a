"""The views for analysts have the columns of the reference page, and tell the truth."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db.session import Database
from intu_fhir.db.tables import metadata
from intu_fhir.db.views import VIEWS, View
from intu_fhir.model.canonical import canonical_json
from tests.support.clock import START
from tests.support.seeded import stage
from tests.support.studies import uid

_EVERY_VIEW = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)


def _rows(database: Database, query: str) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


@_EVERY_VIEW
def test_columns_are_those_of_the_page(view: View, database: Database) -> None:
    """A view of the database has the columns that its description names, in that order."""
    with database.read() as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {view.name}"))
        assert list(found.keys()) == list(view.columns)


def test_every_view_is_described(database: Database) -> None:
    """The database has no view that the page leaves out."""
    with database.read() as connection:
        assert set(sa.inspect(connection).get_view_names()) == {view.name for view in VIEWS}


@_EVERY_VIEW
def test_columns_are_explained(view: View) -> None:
    """A column without words of its own is one that the tables explain."""
    known = {column.name for table in metadata.tables.values() for column in table.columns}
    assert [name for name, words in view.columns.items() if not words and name not in known] == []


def test_studies_and_deliveries(database: Database) -> None:
    """One row for a study with its sender, one for each of its destinations."""
    with database.write() as connection:
        stage(connection, "one", deliveries={"ehr": "delivered", "pacs": "dead"}, modalities="CT")
    (study,) = _rows(database, "SELECT * FROM v_studies")
    assert study["state"] == "failed"
    assert (study["calling_ae_title"], study["number_of_instances"]) == ("CT_SCANNER_1", 2)
    ehr, pacs = _rows(database, "SELECT * FROM v_deliveries ORDER BY destination")
    assert (ehr["delivered_generation"], ehr["state"]) == (1, "delivered")
    assert (pacs["failed_tries"], pacs["last_error"]) == (3, "422 refused")


def test_turnaround_counts_from_the_last_image(database: Database) -> None:
    """The seconds of a generation run from its own last image, not from one that came later."""
    with database.write() as connection:
        key = stage(connection, "one", generation=2, revision=3, deliveries={"ehr": "delivered"})
        for generation, settled in ((1, 30), (2, 300)):
            _settle(connection, key, generation, START + timedelta(seconds=settled))
        delivery = connection.execute(sa.select(t.deliveries.c.delivery_key)).scalar_one()
        for number, (outcome, ended) in enumerate((("retrying", 40), ("delivered", 41.5)), 1):
            connection.execute(
                t.attempts.insert().values(
                    delivery_key=delivery,
                    generation=1,
                    number=number,
                    started_at=START + timedelta(seconds=39),
                    ended_at=START + timedelta(seconds=ended),
                    outcome=outcome,
                )
            )
    first, second = _rows(database, "SELECT * FROM v_turnaround ORDER BY generation")
    assert (first["seconds_to_settle"], first["seconds_to_build"]) == (30.0, 5.0)
    assert (first["seconds_to_deliver"], first["seconds_in_all"]) == (6.5, 41.5)
    assert (second["seconds_to_deliver"], second["delivered_at"]) == (None, None)
    seconds = _rows(database, "SELECT seconds FROM v_attempts ORDER BY number")
    assert [row["seconds"] for row in seconds] == [1.0, 2.5]


def _settle(connection: sa.Connection, key: int, generation: int, at: Any) -> None:
    connection.execute(
        t.generations.insert().values(
            study_key=key,
            generation=generation,
            revision=generation,
            settled_at=at,
            evidence="quiet",
            number_of_series=1,
            number_of_instances=2,
        )
    )
    connection.execute(
        t.resources.insert().values(
            study_key=key,
            generation=generation,
            release="r4",
            mapping_version="m",
            channel="radiology",
            built_at=at + timedelta(seconds=5),
            state="valid",
            content_hash="",
            findings=[],
        )
    )


def test_failures_name_each_kind(database: Database) -> None:
    """Deliveries, steps, holds, quarantine and damaged files stand in one list."""
    with database.write() as connection:
        key = stage(connection, "one", build="dead", deliveries={"ehr": "retrying"})
        connection.execute(
            t.holds.insert().values(
                study_key=key, reason="patient_conflict", generation=1, held_at=START
            )
        )
        connection.execute(
            t.quarantine.insert().values(
                association_id="a-one",
                reason="different_bytes",
                study_instance_uid=uid("one"),
                file="quarantine/1.dcm",
                sha256="1" * 64,
                received_at=START,
            )
        )
        damaged = t.instances.c.sop_instance_uid == uid("one", 1, 0)
        connection.execute(t.instances.update().where(damaged).values(damaged_at=START))
    found = _rows(database, "SELECT kind, state, study_instance_uid FROM v_failures ORDER BY kind")
    assert [(row["kind"], row["state"]) for row in found] == [
        ("delivery", "retrying"),
        ("file", "damaged"),
        ("hold", "held"),
        ("quarantine", "quarantined"),
        ("step", "dead"),
    ]
    assert {row["study_instance_uid"] for row in found} == {uid("one")}


def test_what_came_on_a_day(database: Database) -> None:
    """Images and bytes are added up by day, channel, sender and modality."""
    with database.write() as connection:
        for name, at in (("one", START), ("two", START), ("three", START + timedelta(days=1))):
            stage(connection, name, at=at)
    days = _rows(database, "SELECT * FROM v_daily ORDER BY day")
    assert [row["studies"] for row in days] == [2, 1]
    assert [row["bytes"] for row in days] == [4_000, 2_000]
    assert days[0]["day"] == START.strftime("%Y-%m-%d")


def test_dose_is_one_row_for_each_number_of_the_newest_build(database: Database) -> None:
    """Numbers of a dose report stand with code and unit; an older build does not count twice."""
    with database.write() as connection:
        key = stage(connection, "one", generation=2)
        for generation in (1, 2):
            _settle(connection, key, generation, START)
        for resource_key in connection.execute(sa.select(t.resources.c.resource_key)).scalars():
            _dose(connection, resource_key)
    (row,) = _rows(database, "SELECT * FROM v_dose")
    assert (row["code"], row["value"], row["unit"]) == ("113813", 500.25, "mGy.cm")
    assert (row["name"], row["device"]) == ("CT Dose Length Product Total", "ACME Scan")
    assert (row["report_uid"], row["started"]) == ("1.2.3.9", "2024-02-29T10:00:00Z")


def _dose(connection: sa.Connection, resource_key: int) -> None:
    code = {
        "coding": [
            {
                "system": "http://dicom.nema.org/resources/ontology/DCM",
                "code": "113813",
                "display": "CT Dose Length Product Total",
            }
        ]
    }
    total = {"code": code, "valueQuantity": {"value": 500.25, "unit": "mGy.cm"}}
    procedure = {"code": {"text": "Procedure reported"}, "valueCodeableConcept": {}}
    resource = {
        "resourceType": "Observation",
        "effectiveDateTime": "2024-02-29T10:00:00Z",
        "device": {"type": "Device", "display": "ACME Scan"},
        "component": [procedure, total],
    }
    connection.execute(
        t.companions.insert().values(
            resource_key=resource_key,
            kind="dose",
            resource_type="Observation",
            identifier="urn:dicom:uid|urn:oid:1.2.3.9",
            source_uid="1.2.3.9",
            series=[],
            resource=canonical_json(resource).decode(),
        )
    )
