"""Publishing to FHIR servers that others wrote: Medplum's router, HAPI FHIR of both releases."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.build.document import document_reference
from intu_fhir.deliver.answers import token
from intu_fhir.deliver.document import complete
from intu_fhir.deliver.fhir import FhirClient, Publication
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Hold, Retry
from intu_fhir.observe.clock import SystemClock
from intu_fhir.settings.schema import FhirDestination
from tests.support.foreign_fhir import ForeignServer, hapi, medplum
from tests.support.publications import (
    PATIENT_SYSTEM,
    delivered,
    imaging_study,
    publication,
)
from tests.support.running import running_site
from tests.support.studies import make_study


@pytest.fixture(scope="module")
def hapi_servers() -> Iterator[Mapping[str, ForeignServer]]:
    """HAPI FHIR of each release."""
    with hapi() as running:
        yield running


@pytest.fixture(scope="module")
def medplum_server() -> Iterator[ForeignServer]:
    """Medplum's router."""
    with medplum() as running:
        yield running


@pytest.fixture(scope="module", params=["medplum", "hapi-r4", "hapi-r5"])
def server(request: pytest.FixtureRequest) -> ForeignServer:
    """One server of each kind for all tests here; each has a study of its own."""
    _, _, release = str(request.param).partition("-")
    running: Any = request.getfixturevalue("hapi_servers" if release else "medplum_server")
    one: ForeignServer = running[release] if release else running
    return one


def _client(server: ForeignServer) -> FhirClient:
    destination = FhirDestination(
        type="fhir", base_url=server.base_url, release=server.release, timeout_seconds=60.0
    )
    return FhirClient(destination, clock=SystemClock())


@pytest.fixture
def client(server: ForeignServer) -> Iterator[FhirClient]:
    """A client of it."""
    with closing(_client(server)) as one:
        yield one


def _found(server: ForeignServer, uid: str) -> list[dict[str, Any]]:
    return server.search(f"ImagingStudy?identifier=urn:dicom:uid%7Curn:oid:{uid}")


def test_published_twice_is_found_once(server: ForeignServer, client: FhirClient) -> None:
    """Who remembers the first time sends nothing; who does not updates; a search finds one."""
    uid = "1.2.3.1"
    study = imaging_study(uid, release=server.release)
    first = delivered(client.publish(publication(study, uid)))
    assert delivered(client.publish(publication(study, uid, first))).version == first.version
    forgotten = delivered(client.publish(publication(study, uid)))
    assert forgotten.server_id == first.server_id
    [stored] = _found(server, uid)
    assert stored["id"] == first.server_id
    assert stored["series"] == study["series"]


def test_late_images_make_a_version(server: ForeignServer, client: FhirClient) -> None:
    """A known resource is updated under its id, with a new version."""
    uid = "1.2.3.2"
    first = delivered(client.publish(publication(imaging_study(uid, release=server.release), uid)))
    late = imaging_study(uid, instances=3, release=server.release)
    second = delivered(client.publish(publication(late, uid, first)))
    [stored] = _found(server, uid)
    assert (stored["id"], stored["numberOfInstances"]) == (first.server_id, 3)
    assert stored["meta"]["versionId"] == second.version != first.version


def test_another_writer_keeps_what_it_wrote(server: ForeignServer, client: FhirClient) -> None:
    """The server refuses our old version with 412; what the other one added stays (E36)."""
    uid = "1.2.3.3"
    first = delivered(client.publish(publication(imaging_study(uid, release=server.release), uid)))
    [stored] = _found(server, uid)
    server.put(f"ImagingStudy/{first.server_id}", {**stored, "note": [{"text": "theirs"}]})
    late = imaging_study(uid, instances=3, release=server.release)
    delivered(client.publish(publication(late, uid, first)))
    [merged] = _found(server, uid)
    assert (merged["note"], merged["numberOfInstances"]) == ([{"text": "theirs"}], 3)


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_a_patient_that_the_server_finds(
    hapi_servers: Mapping[str, ForeignServer], release: str
) -> None:
    """A conditional subject: held without the patient, then one resource, others' notes kept.

    Medplum's router is not asked: it keeps the search as it is, in a transaction too.
    """
    server = hapi_servers[release]
    uid, patient = "1.2.3.8", {"system": PATIENT_SYSTEM, "value": "PAT-0008"}
    wanted = {"reference": f"Patient?identifier={token(*patient.values())}", "type": "Patient"}

    def study(instances: int) -> dict[str, Any]:
        subject = {**wanted, "identifier": patient}
        return imaging_study(uid, instances=instances, release=server.release, subject=subject)

    with closing(_client(server)) as client:
        held = client.publish(publication(study(2), uid))
        assert isinstance(held, Hold), held
        server.post("Patient", {"resourceType": "Patient", "identifier": [patient]})
        first = delivered(client.publish(publication(study(2), uid)))
        [stored] = _found(server, uid)
        assert stored["subject"]["reference"].startswith("Patient/")
        server.put(f"ImagingStudy/{first.server_id}", {**stored, "note": [{"text": "theirs"}]})
        second = delivered(client.publish(publication(study(3), uid, first)))
        forgotten = delivered(client.publish(publication(study(4), uid)))
    [merged] = _found(server, uid)
    assert merged["id"] == first.server_id == second.server_id == forgotten.server_id
    assert (merged["note"], merged["numberOfInstances"]) == ([{"text": "theirs"}], 4)


def test_an_invalid_resource_is_rejected_with_the_server_s_words(
    server: ForeignServer, client: FhirClient
) -> None:
    """What the server's validation refuses is a dead letter that names the element."""
    uid = "1.2.3.4"
    wrong = imaging_study(uid, release=server.release)
    del wrong["status"]
    outcome = client.publish(publication(wrong, uid))
    assert isinstance(outcome, Dead)
    assert outcome.detail.startswith("HTTP 4")
    assert "ImagingStudy.status" in outcome.detail
    assert _found(server, uid) == []


def test_two_of_one_study_are_not_joined_by_a_third(
    server: ForeignServer, client: FhirClient
) -> None:
    """Doubles that others made are for a person; none of them is changed."""
    uid = "1.2.3.5"
    for _ in range(2):
        server.post("ImagingStudy", imaging_study(uid, release=server.release))
    before = _found(server, uid)
    outcome = client.publish(
        publication(imaging_study(uid, instances=3, release=server.release), uid)
    )
    assert isinstance(outcome, Dead)
    assert len(before) == 2
    assert _found(server, uid) == before


def test_a_study_as_a_document(server: ForeignServer, client: FhirClient) -> None:
    """A DocumentReference is valid there, found once, and a version later leads elsewhere."""
    uid, release = "1.2.3.7", "r5" if server.release == "r5" else "r4"
    study = imaging_study(uid, release=release, description="CT of the chest")
    document = document_reference(uid, study, release)
    versions = []
    for address in ("https://pacs.example.org/old", "https://pacs.example.org/new"):
        resource, digest = complete(
            document.resource, study["subject"], address, SystemClock().now()
        )
        wanted = Publication(uid, resource, digest, identity=document.identity)
        versions.append(delivered(client.publish(wanted)))
    [stored] = server.search(f"DocumentReference?identifier=urn:dicom:uid%7Curn:oid:{uid}")
    assert stored["id"] == versions[0].server_id == versions[1].server_id
    assert stored["content"][0]["attachment"]["url"] == "https://pacs.example.org/new"
    assert stored["meta"]["versionId"] == versions[1].version != versions[0].version


@pytest.mark.parametrize("contents", ["one content", "eight contents"])
def test_eight_writers_at_once_make_one(server: ForeignServer, contents: str) -> None:
    """Publishers that share nothing leave one resource, and none of them gives up."""
    uid = f"1.2.3.6.{len(contents)}"
    clients = [_client(server) for _ in range(8)]
    start = threading.Barrier(len(clients))

    def publish(number: int) -> DeliveryOutcome:
        said = f"by {number}" if contents == "eight contents" else "by all"
        study = imaging_study(uid, release=server.release, description=said)
        with closing(clients[number]) as client:
            client.metadata()
            start.wait(60)
            return client.publish(publication(study, uid))

    with ThreadPoolExecutor(len(clients)) as pool:
        outcomes = list(pool.map(publish, range(len(clients))))
    assert [one for one in outcomes if not isinstance(one, Delivered | Retry)] == []
    assert any(isinstance(one, Delivered) for one in outcomes)
    assert len(_found(server, uid)) == 1


def test_the_whole_way_with_late_images(
    server: ForeignServer, tmp_path: Path, migrated_database_url: str
) -> None:
    """What a modality sends in two parts is one resource at the server, with all images."""
    study = list(make_study(tmp_path.name))
    uid = str(study[0].StudyInstanceUID)
    with running_site(
        tmp_path,
        migrated_database_url,
        release=server.release,
        ehr={"base_url": server.base_url, "timeout_seconds": 60.0},
    ) as running:
        running.send(study[:2])
        running.rest()
        [early] = _found(server, uid)
        running.send(study[2:])
        running.rest(generation=2)
    [late] = _found(server, uid)
    assert late["id"] == early["id"]
    assert (early["numberOfInstances"], late["numberOfInstances"]) == (2, len(study))
