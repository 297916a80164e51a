"""A study at a server that takes no ImagingStudy: as a DocumentReference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.tables import attempts, delivered_resources, deliveries
from intu_fhir.demo.ehr import Fault, Features
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.rejections import rejection_note
from tests.support.reports import ct_dose
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, uid
from tests.support.validators import validate_independently
from tests.support.waiting import wait_until

WADO = "https://pacs.example.org/dicom-web"
LACKS = Features(types=("Patient", "DocumentReference"))
PLAIN = Features(
    types=("Patient", "DocumentReference"),
    conditional_create=False,
    conditional_update=False,
    update_create=False,
)


@contextmanager
def site(
    folder: Path,
    database: str,
    features: Features = LACKS,
    release: str = "r4",
    **publish: Any,
) -> Iterator[Running]:
    """Run a site whose EHR gets a DocumentReference where it takes no ImagingStudy."""
    wanted = {"document_reference": "fallback", "wado_rs": WADO, **publish}
    with running_site(
        folder, database, release=release, ehr={"publish": wanted}, features=features
    ) as running:
        yield running


def documents(running: Running) -> list[dict[str, Any]]:
    """Return the newest version of every DocumentReference at the EHR."""
    return running.ehr.resources("DocumentReference")


def warning(running: Running) -> str:
    """Return what the ledger remarks on the delivery to the EHR."""
    return str(next(r.warning for r in running.rows(deliveries) if r.destination == "ehr"))


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_a_server_without_imaging_study_gets_a_document(
    tmp_path: Path, migrated_database_url: str, release: str
) -> None:
    """It leads to the images, is valid, and stands in the ledger by its own type."""
    with site(tmp_path, migrated_database_url, release=release) as running:
        running.send([make_instance(AccessionNumber="ACC-1")])
        [row] = running.rest()
        assert row.state == "delivered"
        [document] = documents(running)
        study = uid("study")
        assert [one["value"] for one in document["identifier"]] == [f"urn:oid:{study}", "ACC-1"]
        [content] = document["content"]
        assert content["attachment"]["url"] == f"{WADO}/studies/{study}"
        assert document["date"]
        assert running.imaging_studies() == []
        assert validate_independently([document], release) == []
        [kept] = running.rows(delivered_resources)
        assert (kept.kind, kept.resource_type) == ("document", "DocumentReference")
        assert (kept.server_id, kept.server_version) == (document["id"], "1")
        delivery = next(r for r in running.rows(deliveries) if r.destination == "ehr")
        assert delivery.server_id == ""
        assert delivery.warning == f"sent as DocumentReference {document['id']} version 1"


@pytest.mark.parametrize("features", [LACKS, PLAIN])
def test_late_images_update_the_document(
    tmp_path: Path, migrated_database_url: str, features: Features
) -> None:
    """Another series makes version 2 of the same document; the same content makes none."""
    with site(tmp_path, migrated_database_url, features) as running:
        running.send([make_instance()])
        running.rest()
        running.send([make_instance(series=2, Modality="PT")])
        running.rest(generation=2)
        [document] = documents(running)
        assert document["meta"]["versionId"] == "2"
        events = [one["coding"][0]["code"] for one in document["context"]["event"]]
        assert events[:2] == ["CT", "PT"]
        before = len(running.ehr.received)
        tries = len(running.rows(attempts))
        app = running.site.app
        replay(app.database, app.clock, ReplaySelection(rebuild=True))
        wait_until(lambda: len(running.rows(attempts)) > tries)
        running.rest(generation=2)
        assert len(running.ehr.received) == before
        assert documents(running) == [document]


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("features", [LACKS, PLAIN])
def test_a_lost_answer_doubles_no_document(
    tmp_path: Path, migrated_database_url: str, features: Features, drop: Any
) -> None:
    """A connection that breaks around the commit leaves one document, version 1."""
    lost = Fault(drop=drop, on=("PUT DocumentReference*", "POST DocumentReference"))
    with site(tmp_path, migrated_database_url, features) as running:
        running.ehr.fail_next(lost)
        running.send([make_instance()])
        [row] = running.rest()
        assert row.state == "delivered"
        [document] = documents(running)
        assert document["meta"]["versionId"] == "1"


def test_a_study_that_is_rejected_takes_its_document_back(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Once every image is rejected the document is entered in error and leads nowhere."""
    with site(tmp_path, migrated_database_url) as running:
        running.send([make_instance()])
        running.rest()
        running.send([rejection_note("113037", uid("study", 1, 1))])
        running.rest(generation=2)
        [document] = documents(running)
        assert document["status"] == "entered-in-error"
        assert "url" not in document["content"][0]["attachment"]


def test_once_the_server_takes_imaging_studies_the_document_is_superseded(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A server that learns ImagingStudy gets it, and no document stands beside it as current."""
    with site(tmp_path, migrated_database_url) as running:
        running.send([make_instance()])
        running.rest()
        running.ehr.offer(Features())
        running.restart()
        running.send([make_instance(number=2)])
        running.rest(generation=2)
        [study] = running.imaging_studies()
        assert (study["status"], study["meta"]["versionId"]) == ("available", "1")
        [document] = documents(running)
        assert document["status"] == "superseded"
        [kept] = running.rows(delivered_resources)
        assert kept.withdrawn_at is not None
        assert warning(running) == ""


def test_instead_of_an_imaging_study(tmp_path: Path, migrated_database_url: str) -> None:
    """A site may want documents alone, whatever the server offers."""
    with site(tmp_path, migrated_database_url, Features(), document_reference="instead") as running:
        running.send([make_instance()])
        running.rest()
        assert running.imaging_studies() == []
        assert len(documents(running)) == 1


def test_a_server_with_imaging_study_gets_it(tmp_path: Path, migrated_database_url: str) -> None:
    """The fallback is for servers that lack it; the others get what they take."""
    with site(tmp_path, migrated_database_url, Features()) as running:
        running.send([make_instance()])
        running.rest()
        assert len(running.imaging_studies()) == 1
        assert documents(running) == []


def test_what_goes_beside_an_imaging_study_alone(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A document goes without dose and provenance, and the ledger says so."""
    with site(tmp_path, migrated_database_url, dose=True, provenance=True) as running:
        running.send([make_instance(), ct_dose()])
        running.rest()
        assert [one["resourceType"] for one in running.ehr.resources()] == ["DocumentReference"]
        assert "without dose, provenance, which go beside an ImagingStudy" in warning(running)


def test_a_server_that_takes_neither(tmp_path: Path, migrated_database_url: str) -> None:
    """Without both it is a dead letter that quotes the server's CapabilityStatement."""
    with site(tmp_path, migrated_database_url, Features(types=("Patient",))) as running:
        running.send([make_instance()])
        [row] = running.rest()
        assert row.state == "failed"
        [tried] = [one for one in running.rows(attempts) if one.outcome == "dead"]
        assert "its CapabilityStatement does not list ImagingStudy" in tried.detail
        assert "does not list DocumentReference" in tried.detail


def test_a_document_is_not_announced(tmp_path: Path, migrated_database_url: str) -> None:
    """What leads to images is sent once they are where it leads."""
    image = make_instance()
    ehr = {"after": ["pacs"], "announce": True, "publish": {"document_reference": "instead"}}
    with running_site(tmp_path, migrated_database_url, ehr=ehr) as running:
        running.pacs.answer_for(str(image.SOPInstanceUID), 0xC000)
        running.send([image])
        wait_until(lambda: {"dead", "waiting"} == {r.state for r in running.rows(deliveries)})
        assert running.ehr.resources() == []
        running.pacs.answer_for(str(image.SOPInstanceUID), 0)
        app = running.site.app
        replay(app.database, app.clock, ReplaySelection())
        wait_until(lambda: documents(running))
