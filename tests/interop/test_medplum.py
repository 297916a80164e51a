"""Publishing to a FHIR server that others wrote: Medplum's router, validation and search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.model.outcome import Dead
from intu_fhir.observe.clock import SystemClock
from intu_fhir.settings.schema import FhirDestination
from tests.support.medplum import Medplum, medplum
from tests.support.publications import delivered, imaging_study, publication
from tests.support.running import running_site
from tests.support.studies import make_study


@pytest.fixture(scope="module")
def server() -> Iterator[Medplum]:
    """One server for all tests here; each has a study of its own."""
    with medplum() as running:
        yield running


@pytest.fixture
def client(server: Medplum) -> Iterator[FhirClient]:
    """A client of it."""
    destination = FhirDestination(type="fhir", base_url=server.base_url, timeout_seconds=20.0)
    one = FhirClient(destination, clock=SystemClock())
    yield one
    one.close()


def _found(server: Medplum, uid: str) -> list[dict[str, Any]]:
    return server.search(f"ImagingStudy?identifier=urn:dicom:uid%7Curn:oid:{uid}")


def test_published_twice_is_found_once(server: Medplum, client: FhirClient) -> None:
    """Who remembers the first time sends nothing; who does not updates; a search finds one."""
    uid = "1.2.3.1"
    study = imaging_study(uid)
    first = delivered(client.publish(publication(study, uid)))
    assert delivered(client.publish(publication(study, uid, first))).version == first.version
    forgotten = delivered(client.publish(publication(study, uid)))
    assert forgotten.server_id == first.server_id
    [stored] = _found(server, uid)
    assert stored["id"] == first.server_id
    assert stored["series"] == study["series"]


def test_late_images_make_a_version(server: Medplum, client: FhirClient) -> None:
    """A known resource is updated under its id, with a new version."""
    uid = "1.2.3.2"
    first = delivered(client.publish(publication(imaging_study(uid), uid)))
    late = imaging_study(uid, instances=3)
    second = delivered(client.publish(publication(late, uid, first)))
    [stored] = _found(server, uid)
    assert (stored["id"], stored["numberOfInstances"]) == (first.server_id, 3)
    assert stored["meta"]["versionId"] == second.version != first.version


def test_another_writer_keeps_what_it_wrote(server: Medplum, client: FhirClient) -> None:
    """The server refuses our old version with 412; what the other one added stays (E36)."""
    uid = "1.2.3.3"
    first = delivered(client.publish(publication(imaging_study(uid), uid)))
    [stored] = _found(server, uid)
    server.put(f"ImagingStudy/{first.server_id}", {**stored, "note": [{"text": "theirs"}]})
    late = imaging_study(uid, instances=3)
    delivered(client.publish(publication(late, uid, first)))
    [merged] = _found(server, uid)
    assert (merged["note"], merged["numberOfInstances"]) == ([{"text": "theirs"}], 3)


def test_an_invalid_resource_is_rejected_with_the_server_s_words(
    server: Medplum, client: FhirClient
) -> None:
    """What the server's validation refuses is a dead letter that names the element."""
    uid = "1.2.3.4"
    wrong = imaging_study(uid)
    del wrong["status"]
    outcome = client.publish(publication(wrong, uid))
    assert isinstance(outcome, Dead)
    assert outcome.detail.startswith("HTTP 400")
    assert "ImagingStudy.status" in outcome.detail
    assert _found(server, uid) == []


def test_two_of_one_study_are_not_joined_by_a_third(server: Medplum, client: FhirClient) -> None:
    """Doubles that others made are for a person; none of them is changed."""
    uid = "1.2.3.5"
    for _ in range(2):
        server.post("ImagingStudy", imaging_study(uid))
    before = _found(server, uid)
    outcome = client.publish(publication(imaging_study(uid, instances=3), uid))
    assert isinstance(outcome, Dead)
    assert len(before) == 2
    assert _found(server, uid) == before


def test_the_whole_way_with_late_images(
    server: Medplum, tmp_path: Path, migrated_database_url: str
) -> None:
    """What a modality sends in two parts is one resource at the server, with all images."""
    study = list(make_study(tmp_path.name))
    uid = str(study[0].StudyInstanceUID)
    with running_site(
        tmp_path, migrated_database_url, ehr={"base_url": server.base_url}
    ) as running:
        running.send(study[:2])
        running.rest()
        [early] = _found(server, uid)
        running.send(study[2:])
        running.rest(generation=2)
    [late] = _found(server, uid)
    assert late["id"] == early["id"]
    assert (early["numberOfInstances"], late["numberOfInstances"]) == (2, len(study))
