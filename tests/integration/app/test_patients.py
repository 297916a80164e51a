"""Patients of studies at the EHR: found there by the server itself, or made by us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intu_fhir.db.tables import attempts, deliveries
from intu_fhir.demo.ehr import Fault, Features
from tests.support.publications import PATIENT_SYSTEM
from tests.support.reports import ct_dose
from tests.support.running import Running, running_site
from tests.support.studies import make_instance

PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": PATIENT_SYSTEM, "value": "P1"}],
}


@contextmanager
def site(folder: Path, database: str, patients: int = 1) -> Iterator[Running]:
    """Run a site that sends doses beside studies, all in one transaction."""
    ehr = {"subject": {"strategy": "conditional"}, "publish": {"dose": True}}
    identifiers = {"patient": {"default": PATIENT_SYSTEM}}
    with running_site(folder, database, ehr=ehr, identifiers=identifiers) as running:
        for _ in range(patients):
            running.ehr.store.write(PATIENT)
        yield running


def _sent(running: Running) -> None:
    running.send([make_instance(), ct_dose()])
    [row] = running.rest()
    assert row.state == "delivered", [one.detail for one in running.rows(attempts)]


def _grown(running: Running) -> None:
    running.send([make_instance(number=7)])
    [row] = running.rest(generation=2)
    assert row.state == "delivered", [one.detail for one in running.rows(attempts)]


def test_another_writer_keeps_what_it_wrote(tmp_path: Path, migrated_database_url: str) -> None:
    """What the EHR added to the study in between stays when a late image comes."""
    with site(tmp_path, migrated_database_url) as running:
        _sent(running)
        [study] = running.imaging_studies()
        running.ehr.store.write({**study, "note": [{"text": "theirs"}]}, study["id"])
        _grown(running)
        [merged] = running.imaging_studies()
        assert merged["note"] == [{"text": "theirs"}]
        assert merged["numberOfInstances"] == study["numberOfInstances"] + 1


def test_too_large_it_goes_without_instances(tmp_path: Path, migrated_database_url: str) -> None:
    """A transaction that is too large is sent in parts, the study without its list."""
    with site(tmp_path, migrated_database_url) as running:
        running.ehr.fail_next(Fault(413), Fault(413))
        _sent(running)
        [study] = running.imaging_studies()
        assert [one for one in study["series"] if "instance" in one] == []
        assert len(running.ehr.resources("Observation")) >= 1
        [row] = [one for one in running.rows(deliveries) if one.destination == "ehr"]
        assert "sent without the list" in row.warning


@pytest.mark.parametrize("status", [404, 410])
def test_refused_as_gone_it_is_looked_for(
    tmp_path: Path, migrated_database_url: str, status: int
) -> None:
    """A status that may mean the study does not make the patient the one who is missing."""
    with site(tmp_path, migrated_database_url) as running:
        _sent(running)
        running.ehr.fail_next(Fault(status))
        _grown(running)
        [study] = running.imaging_studies()
        assert study["meta"]["versionId"] == "2"


@pytest.mark.parametrize("patients", [0, 2])
def test_no_patient_or_several_hold_the_study(
    tmp_path: Path, migrated_database_url: str, patients: int
) -> None:
    """Where the server cannot tell whose study it is, nothing of it is written."""
    with site(tmp_path, migrated_database_url, patients) as running:
        running.send([make_instance(), ct_dose()])
        [row] = running.rest()
        assert row.state == "held"
        assert {one["resourceType"] for one in running.ehr.resources()} <= {"Patient"}


def test_studies_of_a_new_patient_at_once_make_one(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Eight workers with a study each of somebody new make one record at a plain server."""
    ehr = {"subject": {"strategy": "create"}, "concurrency": 8}
    identifiers = {"patient": {"default": PATIENT_SYSTEM}}
    plain = Features(conditional_update=False, conditional_create=False, update_create=False)
    with running_site(
        tmp_path, migrated_database_url, ehr=ehr, features=plain, identifiers=identifiers
    ) as running:
        running.ehr.fail_next(*[Fault(delay=1.0, on=("POST Patient",))] * 8)
        running.send(make_instance(f"study {number}") for number in range(8))
        running.rest()
        assert len(running.imaging_studies()) == 8
        assert len(running.ehr.resources("Patient")) == 1
