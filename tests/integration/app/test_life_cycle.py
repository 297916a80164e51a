"""What becomes of a published study later: more images, fewer images, another patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import holds
from intu_fhir.demo.ehr import Features
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.rejections import rejection_note
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, uid
from tests.support.waiting import wait_until


def _versions(running: Running) -> list[Any]:
    [resource] = running.imaging_studies()
    return running.ehr.versions("ImagingStudy", resource["id"])


def test_a_late_series_leaves_the_start_where_it_was(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A later object with its own, earlier or later, times makes a version with the same start."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(number=1), make_instance(number=2)])
        running.rest()
        late = make_instance(series=2, StudyTime="235959", SeriesDate="20240302", Modality="SEG")
        running.send([late])
        running.rest(generation=2)
        first, second = _versions(running)
        assert (first["numberOfSeries"], second["numberOfSeries"]) == (1, 2)
        assert second["started"] == first["started"]
        assert (first["status"], second["status"]) == ("available", "available")


def test_a_rejection_note_takes_images_out_and_leaves_word(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A rejected image leaves list and counts in a new version, and a finding says so (E26)."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(number=1), make_instance(number=2)])
        running.rest()
        running.send([rejection_note("113001", uid("study", 1, 2))])
        running.rest(generation=2)
        first, second = _versions(running)
        assert (first["numberOfInstances"], second["numberOfInstances"]) == (2, 1)
        assert [i["uid"] for i in second["series"][0]["instance"]] == [uid("study", 1, 1)]
        assert second["status"] == "available"


@pytest.mark.parametrize(
    ("code", "status"),
    [("113001", "cancelled"), ("113037", "entered-in-error"), ("113038", "entered-in-error")],
)
def test_a_study_of_which_all_is_rejected_changes_its_status(
    tmp_path: Path, migrated_database_url: str, code: str, status: str
) -> None:
    """The resource stays, with the status that the reason of the rejection asks for (E26)."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(number=1)])
        running.rest()
        running.send([rejection_note(code, uid("study", 1, 1))])
        running.rest(generation=2)
        first, second = _versions(running)
        assert (first["status"], second["status"]) == ("available", status)
        assert second["id"] == first["id"]


@pytest.mark.parametrize(
    ("code", "transaction"), [("113001", True), ("113037", False), ("113039", True)]
)
def test_what_was_taken_back_stays_away_though_the_ehr_wrote_meanwhile(
    tmp_path: Path, migrated_database_url: str, code: str, transaction: bool
) -> None:
    """What the EHR added stays; rejected images and the way to deleted ones go (E26, E36)."""
    publish = {"endpoint": True, "wado_rs": "https://pacs.example.org/web", "provenance": True}
    features = Features(transaction=transaction)
    with running_site(
        tmp_path, migrated_database_url, ehr={"publish": publish}, features=features
    ) as running:
        running.send([make_instance(number=1)])
        running.rest()
        [theirs] = running.imaging_studies()
        assert theirs["endpoint"]
        running.ehr.store.write({**theirs, "note": [{"text": "seen"}]}, theirs["id"])
        running.send([rejection_note(code, uid("study", 1, 1))])
        running.rest(generation=2)
        [study] = running.imaging_studies()
        assert study["note"] == [{"text": "seen"}]
        expired = code == "113039"
        assert ("endpoint" in study, "series" in study) == (not expired, expired)
        assert study["numberOfInstances"] == int(expired)


def test_another_patient_in_later_images_holds_what_is_published(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Late images of another Patient ID hold the study; what is published stays as it was (E06)."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(number=1)])
        running.rest()
        running.send([make_instance(number=2, PatientID="P2")])
        [study] = running.rest(generation=2)
        assert study.state == "held"
        [published] = _versions(running)
        assert published["numberOfInstances"] == 1
        assert [hold.reason for hold in running.rows(holds)] == ["patient_conflict"]


def test_a_patient_merged_later_is_followed_by_a_replay(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """After a merge at the EHR a replay points the same resource to the survivor (E38)."""
    system = "https://site.example/patients"
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": system, "value": "P1"}],
        "name": [{"family": "Sample", "given": ["Sam"]}],
        "birthDate": "1970-01-01",
    }
    options: dict[str, Any] = {
        "ehr": {"subject": {"strategy": "search"}},
        "identifiers": {"patient": {"default": system}},
    }
    with running_site(tmp_path, migrated_database_url, **options) as running:
        old = running.ehr.store.write(patient)
        running.send([make_instance()])
        running.rest()
        assert running.imaging_studies()[0]["subject"]["reference"] == f"Patient/{old['id']}"
        survivor = running.ehr.store.write(
            {**patient, "identifier": [{"system": system, "value": "P2"}]}
        )
        link = {"other": {"reference": f"Patient/{survivor['id']}"}, "type": "replaced-by"}
        running.ehr.store.write({**patient, "link": [link]}, old["id"])
        app = running.site.app
        replay(app.database, app.clock, ReplaySelection(ReplayFilter(), rebuild=True))
        wait_until(lambda: running.imaging_studies()[0]["meta"]["versionId"] == "2")
        [resource] = running.imaging_studies()
        assert resource["subject"]["reference"] == f"Patient/{survivor['id']}"
