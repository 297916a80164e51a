"""A resource whose id is not remembered: it is found, with what others added, or gone by then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.demo.ehr import Fault, Features, StandInEhr
from intu_fhir.model.outcome import Dead, Hold, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.publications import PATIENT_SYSTEM, delivered, imaging_study, publication

EHRS = {"system": "https://ehr.example/studies", "value": "7"}
OFFERS = {
    "If-None-Exist": Features(),
    "conditional update": Features(conditional_create=False),
    "ids of the client's": Features(conditional_update=False, conditional_create=False),
    "plain create": Features(
        conditional_update=False, conditional_create=False, update_create=False
    ),
}
PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": PATIENT_SYSTEM, "value": "PAT-0001"}],
}
REFERENCES = {
    "logical": {},
    "conditional": {
        "reference": "Patient?identifier=urn%3Aoid%3A1.2.276.0.76.3.1.999.1%7CPAT-0001"
    },
}
PUT = ("PUT ImagingStudy/*", "POST ")


@pytest.fixture(params=OFFERS)
def ehr(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StandInEhr]:
    """An EHR with one of the ways to write."""
    features = OFFERS[request.param]
    with StandInEhr(tmp_path / "ehr", features=features, ready_made=(PATIENT,)) as server:
        yield server


@pytest.fixture(params=REFERENCES)
def subject(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the study refers to its patient."""
    return {**imaging_study()["subject"], **REFERENCES[request.param]}


def _theirs(**elements: Any) -> dict[str, Any]:
    study = imaging_study(**elements)
    return {**study, "identifier": [*study["identifier"], EHRS], "note": [{"text": "theirs"}]}


def test_what_others_added_stays(
    ehr: StandInEhr, connect: ConnectFhir, subject: dict[str, Any]
) -> None:
    """A study that we have no memory of gets our content on top of what is there (E36)."""
    ehr.store.write(_theirs())
    wanted = publication(imaging_study(instances=3, subject=subject))
    outcome = delivered(connect(ehr.base_url).publish(wanted))
    [stored] = ehr.resources("ImagingStudy")
    assert (stored["note"], stored["numberOfInstances"]) == ([{"text": "theirs"}], 3)
    assert EHRS in stored["identifier"]
    assert (outcome.server_id, outcome.version) == (stored["id"], "2")


def test_what_is_there_already_is_not_written(
    ehr: StandInEhr, connect: ConnectFhir, subject: dict[str, Any]
) -> None:
    """Our content with the additions of others is all that is wanted: no version is made."""
    linked = {**subject, "reference": "Patient/p1"} if "reference" in subject else subject
    ehr.store.write(_theirs(subject=linked))
    wanted = publication(imaging_study(subject=subject))
    assert delivered(connect(ehr.base_url).publish(wanted)).version == "1"


def test_what_changes_after_the_search_is_taken_over(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """A writer between our search and our update loses nothing either."""
    there = ehr.store.write(imaging_study())
    waiting = [lambda: ehr.store.write({**there, "note": [{"text": "theirs"}]}, there["id"])]

    def look(header: str) -> bool:
        if ehr.received[-1].method == "PUT" and waiting:
            waiting.pop()()
        return True

    ehr.authorize = look
    delivered(connect(ehr.base_url).publish(publication(imaging_study(instances=3))))
    [stored] = ehr.resources("ImagingStudy")
    assert (stored["note"], stored["numberOfInstances"]) == ([{"text": "theirs"}], 3)


def test_a_search_that_shows_a_part_is_not_taken_for_the_whole(
    tmp_path: Path, connect: ConnectFhir
) -> None:
    """What a server shows shortened is read as it is, before anything is put on top of it."""
    with StandInEhr(tmp_path / "ehr") as ehr:
        there = ehr.store.write(_theirs())
        part = (
            b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":'
            b'{"resourceType":"ImagingStudy","id":"%s","identifier":[{"system":"urn:dicom:uid",'
            b'"value":"urn:oid:1.2.3"}],"meta":{"versionId":"1","tag":[{"code":"SUBSETTED"}]}}}]}'
        ) % there["id"].encode()
        ehr.fail_next(Fault(200, body=part, on=("GET ImagingStudy",)))
        delivered(connect(ehr.base_url).publish(publication(imaging_study(instances=3))))
        [stored] = ehr.resources("ImagingStudy")
        assert stored["note"] == [{"text": "theirs"}]
        assert "tag" not in stored["meta"]


@pytest.mark.parametrize("status", [400, 403])
def test_a_server_that_finds_by_itself_needs_no_search(
    tmp_path: Path, connect: ConnectFhir, status: int
) -> None:
    """Where a search is refused, a conditional update still leaves one resource."""
    with StandInEhr(tmp_path / "ehr", features=Features(conditional_create=False)) as ehr:
        client = connect(ehr.base_url)
        for instances in (2, 3):
            ehr.fail_next(Fault(status, on=("GET ImagingStudy",)))
            delivered(client.publish(publication(imaging_study(instances=instances))))
        [stored] = ehr.resources("ImagingStudy")
        assert stored["numberOfInstances"] == 3


# ---- found, and gone when it is written


@pytest.mark.parametrize("status", [404, 410])
def test_gone_between_search_and_update_is_made_anew(
    ehr: StandInEhr, connect: ConnectFhir, status: int
) -> None:
    """What another one deletes at that moment is searched again, and created."""
    there = ehr.store.write(imaging_study())
    ehr.fail_next(Fault(status, on=PUT))
    deleted: list[str] = []

    def look(header: str) -> bool:
        if any(r.method == "PUT" for r in ehr.received) and not deleted:
            deleted.append(there["id"])
            ehr.store.delete("ImagingStudy", there["id"])
        return True

    ehr.authorize = look
    outcome = delivered(connect(ehr.base_url).publish(publication(imaging_study(instances=3))))
    [stored] = ehr.resources("ImagingStudy")
    assert (stored["id"], stored["numberOfInstances"]) == (outcome.server_id, 3)
    assert stored["id"] != there["id"]


@pytest.mark.parametrize(("status", "kind"), [(404, Dead), (410, Retry)])
def test_what_stays_gone_though_it_is_found_ends(
    ehr: StandInEhr, connect: ConnectFhir, status: int, kind: type[Dead] | type[Retry]
) -> None:
    """It is searched twice; a deletion that the search has not noticed yet is tried again."""
    ehr.store.write(imaging_study())
    ehr.fail_next(*[Fault(status, on=PUT)] * 9)
    outcome = connect(ehr.base_url).publish(publication(imaging_study(instances=3)))
    assert isinstance(outcome, kind)
    assert sum(r.method == "PUT" for r in ehr.received) == 2
    assert ("tried again by itself" in outcome.detail) == (kind is Retry)


@pytest.mark.parametrize("status", [404, 410])
def test_with_a_conditional_subject_it_is_searched_again_as_well(
    ehr: StandInEhr, connect: ConnectFhir, status: int
) -> None:
    """One refusal is the study's; only what stays refused is for want of the patient."""
    ehr.store.write(imaging_study())
    subject = {**imaging_study()["subject"], **REFERENCES["conditional"]}
    wanted = publication(imaging_study(instances=3, subject=subject))
    ehr.fail_next(*[Fault(status, on=PUT)] * 2)
    outcome = connect(ehr.base_url).publish(wanted)
    assert isinstance(outcome, Hold if status == 404 else Retry)
    ehr.fail_next(Fault(status, on=PUT))
    assert delivered(connect(ehr.base_url).publish(wanted)).version == "2"
