"""A study whose patient the server itself finds: in a transaction, with all else as ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.demo.ehr import Fault, Features, Received, StandInEhr
from intu_fhir.model.outcome import Dead, Hold, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.publications import PATIENT_SYSTEM, delivered, imaging_study, publication

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": PATIENT_SYSTEM, "value": "PAT-0001"}],
}
OFFERS = {
    "If-None-Exist": Features(),
    "conditional update": Features(conditional_create=False),
    "ids of the client's": Features(conditional_update=False, conditional_create=False),
    "plain create": Features(
        conditional_update=False, conditional_create=False, update_create=False
    ),
}


@pytest.fixture
def ehr(tmp_path: Path) -> Iterator[StandInEhr]:
    """An EHR that has the patient."""
    with StandInEhr(tmp_path / "ehr", ready_made=(PATIENT,)) as server:
        yield server


def _study(**elements: Any) -> dict[str, Any]:
    study = imaging_study(**elements)
    reference = "Patient?identifier=urn%3Aoid%3A1.2.276.0.76.3.1.999.1%7CPAT-0001"
    return {**study, "subject": {**study["subject"], "reference": reference}}


def _asked_in(bundle: Received) -> str:
    """Say how a transaction writes its one entry."""
    [entry] = json.loads(bundle.body)["entry"]
    request = entry["request"]
    how = "identifier" if "?" in request["url"] else "id" if "/" in request["url"] else "type"
    conditions = [name for name in ("ifMatch", "ifNoneExist") if name in request]
    return " ".join([request["method"], how, *conditions])


def _transactions(ehr: StandInEhr) -> list[str]:
    return [_asked_in(one) for one in ehr.received if b'"transaction"' in one.body]


@pytest.mark.parametrize(
    ("offer", "first_write"),
    [
        ("If-None-Exist", "POST type ifNoneExist"),
        ("conditional update", "PUT identifier"),
        ("ids of the client's", "PUT id"),
        ("plain create", "POST type ifNoneExist"),
    ],
)
def test_it_goes_in_a_transaction_as_the_server_offers(
    tmp_path: Path, connect: ConnectFhir, offer: str, first_write: str
) -> None:
    """The server resolves the patient; a second version is of the same resource, by its version."""
    with StandInEhr(tmp_path, features=OFFERS[offer], ready_made=(PATIENT,)) as ehr:
        client = connect(ehr.base_url)
        first = delivered(client.publish(publication(_study())))
        again = delivered(client.publish(publication(_study(instances=3), known=first)))
        (stored,) = ehr.resources("ImagingStudy")
        assert stored["subject"] == {**imaging_study()["subject"], "reference": "Patient/p1"}
        assert (again.server_id, again.version) == (first.server_id, "2")
        assert _transactions(ehr) == [first_write, "PUT id ifMatch"]


@pytest.mark.parametrize("offer", OFFERS)
def test_without_memory_it_is_one_resource(
    tmp_path: Path, connect: ConnectFhir, offer: str
) -> None:
    """Published again by who remembers nothing it is found, and updated."""
    with StandInEhr(tmp_path, features=OFFERS[offer], ready_made=(PATIENT,)) as ehr:
        client = connect(ehr.base_url)
        first = delivered(client.publish(publication(_study())))
        again = delivered(client.publish(publication(_study(instances=3))))
        assert (again.server_id, again.version) == (first.server_id, "2")
        assert len(ehr.resources("ImagingStudy")) == 1


@pytest.mark.parametrize("status", [0, 409, 412])
def test_another_writer_keeps_what_it_wrote(
    ehr: StandInEhr, client: FhirClient, status: int
) -> None:
    """A changed version is refused within the transaction, and taken over (E36)."""
    first = delivered(client.publish(publication(_study())))
    theirs = {**ehr.resources("ImagingStudy")[0], "note": [{"text": "theirs"}]}
    ehr.store.write(theirs, first.server_id)
    if status:
        ehr.fail_next(Fault(status))
    second = delivered(client.publish(publication(_study(instances=3), known=first)))
    (stored,) = ehr.resources("ImagingStudy")
    assert (stored["note"], stored["numberOfInstances"]) == ([{"text": "theirs"}], 3)
    assert (second.server_id, second.version) == (first.server_id, "3")


def test_endless_conflict_is_tried_again_later(ehr: StandInEhr, client: FhirClient) -> None:
    """After three conflicts the other writer has its turn."""
    first = delivered(client.publish(publication(_study())))
    ehr.fail_next(*[Fault(409)] * 9)
    assert isinstance(client.publish(publication(_study(instances=3), known=first)), Retry)
    assert len(_transactions(ehr)) == 1 + 3


@pytest.mark.parametrize("status", [404, 410])
def test_a_known_study_that_is_refused_as_gone_is_looked_for(
    ehr: StandInEhr, client: FhirClient, status: int
) -> None:
    """Before the patient is suspected, the study is searched and written where it is."""
    first = delivered(client.publish(publication(_study())))
    ehr.fail_next(Fault(status))
    second = delivered(client.publish(publication(_study(instances=3), known=first)))
    assert (second.server_id, second.version) == (first.server_id, "2")


@pytest.mark.parametrize("offer", OFFERS)
def test_a_deleted_study_is_made_anew(tmp_path: Path, connect: ConnectFhir, offer: str) -> None:
    """A stored id that leads to nothing any more is not used again by each replay."""
    with StandInEhr(tmp_path, features=OFFERS[offer], ready_made=(PATIENT,)) as ehr:
        client = connect(ehr.base_url)
        first = delivered(client.publish(publication(_study())))
        ehr.store.delete("ImagingStudy", first.server_id)
        second = delivered(client.publish(publication(_study(instances=3), known=first)))
        (stored,) = ehr.resources("ImagingStudy")
        assert (stored["id"], stored["numberOfInstances"]) == (second.server_id, 3)


def test_too_large_it_goes_without_instances(ehr: StandInEhr, client: FhirClient) -> None:
    """After 413 the series go with their counts alone, and the ledger says so."""
    ehr.fail_next(Fault(413))
    outcome = delivered(client.publish(publication(_study(instances=7))))
    (stored,) = ehr.resources("ImagingStudy")
    assert "instance" not in stored["series"][0]
    assert stored["numberOfInstances"] == 7
    assert "7 instances" in outcome.warning


def test_too_large_even_without_instances(ehr: StandInEhr, client: FhirClient) -> None:
    """A server that takes not even the short form is for a person."""
    ehr.fail_next(Fault(413), Fault(413))
    assert isinstance(client.publish(publication(_study())), Dead)


def test_an_answer_that_is_lost_is_looked_up(ehr: StandInEhr, client: FhirClient) -> None:
    """The server has the study with its own reference to the patient: that is our content."""
    ehr.fail_next(Fault(drop="after"))
    outcome = delivered(client.publish(publication(_study())))
    assert outcome.version == "1"


def _held(outcome: object) -> None:
    assert isinstance(outcome, Hold), outcome
    assert outcome.code == "patient_not_found"


@pytest.mark.parametrize("offer", OFFERS)
def test_a_patient_who_is_not_there_holds_a_new_study(
    tmp_path: Path, connect: ConnectFhir, offer: str
) -> None:
    """A transaction whose patient the server cannot resolve is for a person."""
    with StandInEhr(tmp_path, features=OFFERS[offer]) as ehr:
        _held(connect(ehr.base_url).publish(publication(_study())))
        assert ehr.resources("ImagingStudy") == []


@pytest.mark.parametrize("status", [404, 412])
def test_a_patient_who_is_gone_holds_a_known_study(
    ehr: StandInEhr, client: FhirClient, status: int
) -> None:
    """The study is where it was and as it was, so that it is the patient who is missing.

    HAPI FHIR says 404 where it finds no patient, 412 where it finds several.
    """
    first = delivered(client.publish(publication(_study())))
    before = ehr.resources("ImagingStudy")
    ehr.fail_next(*[Fault(status)] * 9)
    _held(client.publish(publication(_study(instances=3), known=first)))
    assert ehr.resources("ImagingStudy") == before
