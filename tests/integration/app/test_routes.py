"""Routes over the whole way: who gets a study, who goes first, and what one sees."""

from __future__ import annotations

from pathlib import Path

from intu_fhir.db.delivery_report import DeliveryFilter, DeliveryRow, list_deliveries
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import attempts
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study
from tests.support.waiting import wait_until


def _deliveries(running: Running, destination: str) -> list[DeliveryRow]:
    with running.site.app.database.read() as connection:
        return list_deliveries(connection, DeliveryFilter(destination=destination))


def test_the_ehr_speaks_only_of_what_the_pacs_has(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """While the PACS refuses an image nothing is published; once it has it, everything is."""
    images = list(make_study(series=1, instances=2))
    with running_site(tmp_path, migrated_database_url, ehr={"after": ["pacs"]}) as running:
        poison = str(images[1].SOPInstanceUID)
        running.pacs.answer_for(poison, 0xC000)
        running.send(images)
        [ehr] = wait_until(
            lambda: [row for row in _deliveries(running, "ehr") if row.followed_state == "dead"]
        )
        assert ehr.follows == "pacs"
        assert poison in (ehr.followed_error or "")
        assert running.imaging_studies() == []
        running.pacs.answer_for(poison, 0)
        selection = ReplaySelection(ReplayFilter(destination="pacs"))
        replay(running.site.app.database, running.site.app.clock, selection)
        running.rest()
        assert len(running.imaging_studies()) == 1


def test_a_study_is_registered_before_it_is_available(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """With ``announce`` the EHR knows of a study before the PACS has it, as the same resource."""
    images = list(make_study(series=1, instances=2))
    ehr = {"after": ["pacs"], "announce": True}
    with running_site(tmp_path, migrated_database_url, ehr=ehr) as running:
        poison = str(images[1].SOPInstanceUID)
        running.pacs.answer_for(poison, 0xC000)
        running.send(images)
        wait_until(
            lambda: [row for row in _deliveries(running, "ehr") if row.followed_state == "dead"]
        )
        [registered] = running.imaging_studies()
        assert registered["status"] == "registered"
        assert {"series", "numberOfInstances"} & registered.keys() == set()
        running.restart()
        assert running.imaging_studies() == [registered]
        running.pacs.answer_for(poison, 0)
        selection = ReplaySelection(ReplayFilter(destination="pacs"))
        replay(running.site.app.database, running.site.app.clock, selection)
        running.rest()
        [available] = running.imaging_studies()
        assert (available["status"], available["numberOfInstances"]) == ("available", 2)
        assert available["id"] == registered["id"]
        assert available["meta"]["versionId"] == "2"
        told = [row.detail for row in running.rows(attempts) if row.status in {"200", "201"}]
        assert told == ["announced as registered", ""]


def test_a_published_study_is_not_announced_again(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A study that the EHR knows waits again without a request, not even for the patient."""
    ehr = {"after": ["pacs"], "announce": True, "subject": {"strategy": "create"}}
    identifiers = {"patient": {"default": "urn:oid:1.2.276.0.76.4.8.1"}}
    image = make_instance("one")
    with running_site(tmp_path, migrated_database_url, ehr=ehr, identifiers=identifiers) as running:

        def waits() -> bool:
            return any(row.followed_state == "dead" for row in _deliveries(running, "ehr"))

        running.pacs.answer_for(str(image.SOPInstanceUID), 0xC000)
        running.send([image])
        wait_until(waits)
        assert len(running.imaging_studies()) == 1
        asked = len(running.ehr.received)
        running.restart()
        wait_until(waits)
        assert len(running.ehr.received) == asked


def test_a_study_that_is_not_for_the_pacs(tmp_path: Path, migrated_database_url: str) -> None:
    """What ``only`` leaves out is recorded as filtered with the reason, and sent nowhere."""
    only = {"where": 'PatientID not like "QA*"'}
    with running_site(tmp_path, migrated_database_url, pacs_at={"only": only}) as running:
        running.send([make_instance("one", PatientID="QA7"), make_instance("two")])
        running.rest()
        by_state = {row.state: row for row in _deliveries(running, "pacs")}
        assert set(by_state) == {"delivered", "filtered"}
        assert by_state["filtered"].reason == f"only.where does not hold: {only['where']}"
        assert [one.study_instance_uid for one in running.pacs.instances] == [
            by_state["delivered"].study_instance_uid
        ]
        assert len(running.imaging_studies()) == 2
