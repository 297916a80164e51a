"""The patient of a study at a FHIR server: found, checked, linked, or held for a person."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.session import Database
from intu_fhir.db.turns import Turn
from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.deliver.subject import link_subject
from intu_fhir.demo.ehr import Fault, Features, StandInEhr
from intu_fhir.model.outcome import Dead, Hold, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.publications import (
    PATIENT_SYSTEM,
    delivered,
    imaging_study,
    publication,
)

VALUES: dict[str, Any] = {
    "PatientID": "PAT-0001",
    "PatientName": "Sample^Samantha",
    "PatientBirthDate": "19700131",
    "PatientSex": "F",
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": PATIENT_SYSTEM, "value": "PAT-0001"}],
    "name": [{"family": "Sample", "given": ["Samantha"]}],
    "birthDate": "1970-01-31",
    "gender": "female",
}
CANARIES = ("PAT-0001", "Sample", "Samantha", "1970")


def _link(client: FhirClient, **study: Any) -> Any:
    guard = threading.Lock()
    return link_subject(imaging_study(**study), VALUES, client.destination, client, guard)


def test_search_links_the_one_patient(ehr: StandInEhr, client: FhirClient) -> None:
    """The literal reference joins identifier and display."""
    patient = ehr.store.write(PATIENT)
    linked = _link(client)
    assert linked["subject"] == {
        **imaging_study()["subject"],
        "reference": f"Patient/{patient['id']}",
    }
    delivered(client.publish(publication(linked)))


def test_patient_identifiers_stay_out_of_urls(ehr: StandInEhr, client: FhirClient) -> None:
    """The search is a POST, so that servers' and proxies' logs do not name the patient."""
    ehr.store.write(PATIENT)
    _link(client)
    assert not any(canary in r.path for r in ehr.received for canary in CANARIES)


def test_server_without_search_by_post(tmp_path: Path, connect: ConnectFhir) -> None:
    """Where POST is not known, the search goes by GET."""
    with StandInEhr(tmp_path, features=Features(post_search=False)) as ehr:
        ehr.store.write(PATIENT)
        assert "reference" in _link(connect(ehr.base_url))["subject"]
        assert ehr.received[-1].path == (
            "Patient?identifier=urn%3Aoid%3A1.2.276.0.76.3.1.999.1%7CPAT-0001&_count=5"
        )


def _held(outcome: object, code: str, remedy: str = "release the study") -> None:
    assert isinstance(outcome, Hold)
    assert outcome.code == code
    assert remedy in outcome.detail
    assert not any(canary in outcome.detail for canary in CANARIES)


def test_nobody_found_is_held(client: FhirClient) -> None:
    """A patient is never made up where the server knows none."""
    outcome = _link(client)
    _held(outcome, "patient_not_found")
    assert "`intu-fhir replay --rebuild --study 1.2.3`" in outcome.detail


def test_several_found_are_held(ehr: StandInEhr, client: FhirClient) -> None:
    """None of several is chosen, and each is named."""
    both = [ehr.store.write(PATIENT) for _ in range(2)]
    outcome = _link(client)
    _held(outcome, "patient_ambiguous")
    assert all(f"Patient/{one['id']}" in outcome.detail for one in both)


@pytest.mark.parametrize(
    "other",
    [{"birthDate": "1971-01-31"}, {"gender": "male"}, {"name": [{"family": "Otherwise"}]}],
)
def test_another_person_with_this_identifier_is_held(
    ehr: StandInEhr, client: FhirClient, other: dict[str, Any]
) -> None:
    """An identifier that belongs to somebody else by birth date, sex or name is not linked.

    Which patient it is at the server is told, so that a person can compare them.
    """
    patient = ehr.store.write({**PATIENT, **other})
    outcome = _link(client)
    _held(outcome, "patient_mismatch")
    assert f"Patient/{patient['id']}, which has this identifier" in outcome.detail


def test_subject_without_identifier_is_held(client: FhirClient) -> None:
    """Where the images name no patient there is nothing to search for."""
    _held(
        _link(client, subject={"display": "unknown"}),
        "patient_not_found",
        "`intu-fhir replay --rebuild --study 1.2.3`",
    )


def test_merged_patient_is_followed(ehr: StandInEhr, client: FhirClient) -> None:
    """A record that was replaced leads to the one that took its place (E38)."""
    survivor = ehr.store.write({**PATIENT, "identifier": [{"system": "x", "value": "other"}]})
    reference = {"reference": f"Patient/{survivor['id']}"}
    ehr.store.write({**PATIENT, "link": [{"other": reference, "type": "replaced-by"}]})
    assert _link(client)["subject"]["reference"] == reference["reference"]


def test_merged_patient_beside_the_survivor_is_one(ehr: StandInEhr, client: FhirClient) -> None:
    """Both records of a merged patient found are one patient, not two."""
    survivor = ehr.store.write(PATIENT)
    reference = {"reference": f"Patient/{survivor['id']}"}
    ehr.store.write({**PATIENT, "link": [{"other": reference, "type": "replaced-by"}]})
    assert _link(client)["subject"]["reference"] == reference["reference"]


def test_patients_merged_in_a_circle(ehr: StandInEhr, client: FhirClient) -> None:
    """A circle of links ends."""
    for mine, other in (("a", "b"), ("b", "a")):
        link = [{"other": {"reference": f"Patient/{other}"}, "type": "replaced-by"}]
        ehr.store.write({**PATIENT, "link": link}, mine)
    assert isinstance(_link(client), Dead)


def test_logical_asks_nobody(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """A logical reference is sent as built."""
    client = connect(ehr.base_url, subject={"strategy": "logical"})
    assert _link(client) == imaging_study()
    assert ehr.received == []


def test_conditional_leaves_it_to_the_server(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """A conditional reference is made, escaped as servers want it."""
    client = connect(ehr.base_url, subject={"strategy": "conditional"})
    assert _link(client)["subject"]["reference"] == (
        "Patient?identifier=urn%3Aoid%3A1.2.276.0.76.3.1.999.1%7CPAT-0001"
    )
    assert ehr.received == []


def test_create_makes_one_patient(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """Two studies of a new patient make one thin record."""
    client = connect(ehr.base_url, subject={"strategy": "create"})
    first, second = _link(client), _link(client)
    (patient,) = ehr.resources("Patient")
    assert first["subject"]["reference"] == f"Patient/{patient['id']}"
    assert second["subject"] == first["subject"]
    assert patient["birthDate"] == "1970-01-31"


@pytest.mark.parametrize("conditional", [True, False])
def test_studies_of_a_new_patient_at_once_make_one(
    tmp_path: Path, connect: ConnectFhir, database: Database, conditional: bool
) -> None:
    """Eight workers of processes of their own search at once, find nobody, and make one."""
    features = Features(conditional_create=conditional)
    start = threading.Barrier(8)

    def link(client: FhirClient) -> Any:
        start.wait(20)
        guard = Turn(database, client.destination.base_url)
        return link_subject(imaging_study(), VALUES, client.destination, client, guard)

    with StandInEhr(tmp_path, features=features) as ehr, ThreadPoolExecutor(8) as pool:
        clients = [connect(ehr.base_url, subject={"strategy": "create"}) for _ in range(8)]
        linked = list(pool.map(link, clients))
        [patient] = ehr.resources("Patient")
    assert {one["subject"]["reference"] for one in linked} == {f"Patient/{patient['id']}"}


def test_create_links_who_is_there(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """An existing record is linked after the same check, not joined by another."""
    ehr.store.write({**PATIENT, "gender": "male"})
    client = connect(ehr.base_url, subject={"strategy": "create"})
    _held(_link(client), "patient_mismatch")
    assert len(ehr.resources("Patient")) == 1


@pytest.mark.parametrize("drop", ["before", "after"])
def test_create_whose_answer_is_lost(ehr: StandInEhr, connect: ConnectFhir, drop: Any) -> None:
    """A patient whose creation was not confirmed is looked up by the next try."""
    client = connect(ehr.base_url, subject={"strategy": "create"})
    ehr.fail_next(Fault(drop=drop, on=("POST Patient",)))
    assert isinstance(_link(client), Retry)
    assert len(ehr.resources("Patient")) == (drop == "after")
    linked = _link(client)
    (patient,) = ehr.resources("Patient")
    assert linked["subject"]["reference"] == f"Patient/{patient['id']}"


@pytest.mark.parametrize(("status", "kind"), [(412, Hold), (422, Dead), (503, Retry)])
def test_create_that_is_refused(
    ehr: StandInEhr, connect: ConnectFhir, status: int, kind: type[Any]
) -> None:
    """Several patients that came about meanwhile are held; a refusal ends as its table says."""
    client = connect(ehr.base_url, subject={"strategy": "create"})
    ehr.fail_next(Fault(status, on=("POST Patient",)))
    assert isinstance(_link(client), kind)


@pytest.mark.parametrize(("status", "kind"), [(403, Dead), (500, Retry), (429, Retry)])
def test_search_that_fails(
    ehr: StandInEhr, client: FhirClient, status: int, kind: type[Dead] | type[Retry]
) -> None:
    """A search that is refused or fails is no empty search."""
    ehr.fail_next(Fault(status, on=("POST Patient/_search",)))
    assert isinstance(_link(client), kind)


def test_server_that_ignores_the_identifier(ehr: StandInEhr, client: FhirClient) -> None:
    """A server that answers any search with all it has finds nobody for us."""
    listing = (
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"1"}}]}'
    )
    ehr.fail_next(Fault(200, body=listing, on=("POST Patient/_search",)))
    outcome = _link(client)
    assert isinstance(outcome, Dead)
    assert "subject.strategy" in outcome.detail


@pytest.mark.parametrize("asked", ["POST Patient/_search*", "GET Patient/new*"])
def test_a_page_instead_of_a_patient_makes_no_dead_letter(
    ehr: StandInEhr, client: FhirClient, asked: str
) -> None:
    """Who answers 200 with a page is not the server, neither to a search nor to a read."""
    ehr.store.write({**PATIENT, "id": "new"}, "new")
    link = {"type": "replaced-by", "other": {"reference": "Patient/new"}}
    ehr.store.write({**PATIENT, "id": "old", "link": [link]}, "old")
    page, html = b"<html>We are back soon</html>", {"Content-Type": "text/html"}
    ehr.fail_next(Fault(200, headers=html, body=page, on=(asked,)))
    outcome = _link(client)
    assert isinstance(outcome, Retry)
    assert "text/html" in outcome.detail
    assert _link(client)["subject"]["reference"] == "Patient/new"
