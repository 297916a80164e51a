"""From the modality to EHR and PACS, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.holds import release
from intu_fhir.db.studies import request_settling
from intu_fhir.db.tables import (
    associations,
    attempts,
    deliveries,
    generations,
    headers,
    holds,
    instance_deliveries,
    resources,
)
from intu_fhir.demo.ehr import Fault
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until


@pytest.fixture
def running(tmp_path: Path, migrated_database_url: str) -> Iterator[Running]:
    """A site between its stand-ins."""
    with running_site(tmp_path, migrated_database_url) as one:
        yield one


def test_a_study_reaches_ehr_and_pacs(running: Running) -> None:
    """Six images become one ImagingStudy with right counts, and stand in the PACS as sent."""
    answers = running.send(make_study(series=2, instances=3))
    assert [answer.status for answer in answers] == ["0000"] * 6
    [study] = running.rest()
    assert study.state == "delivered"
    [resource] = running.imaging_studies()
    assert resource["meta"]["versionId"] == "1"
    assert (resource["numberOfSeries"], resource["numberOfInstances"]) == (2, 6)
    assert resource["identifier"][0]["value"] == f"urn:oid:{uid('study')}"
    assert len(running.pacs.instances) == 6
    assert len(running.rows(instance_deliveries)) == 6
    assert len(running.rows(headers)) == 6


def test_the_ledger_tells_every_step(running: Running) -> None:
    """SQL answers who sent it, why it settled, what was built and what each peer said."""
    running.send(make_study(), calling="CT_SCANNER_1")
    running.rest()
    [association] = running.rows(associations)
    assert (association.calling_ae_title, association.stored) == ("CT_SCANNER_1", 6)
    assert association.end_reason == "released"
    [generation] = running.rows(generations)
    assert (generation.evidence, generation.number_of_instances) == ("association_released", 6)
    [built] = running.rows(resources)
    assert (built.state, built.release, len(built.content_hash)) == ("valid", "r4", 64)
    delivered = {row.destination: row for row in running.rows(deliveries)}
    assert {row.state for row in delivered.values()} == {"delivered"}
    assert delivered["ehr"].server_id == running.imaging_studies()[0]["id"]
    assert delivered["ehr"].last_status == "201"
    assert len(running.rows(attempts)) == 2


def test_a_late_image_makes_version_two(running: Running) -> None:
    """After publication one more image brings version 2 of the same resource, sent alone."""
    running.send(make_study(series=1, instances=2))
    running.rest()
    running.send([make_instance(series=1, number=3)])
    running.rest(generation=2)
    [resource] = running.imaging_studies()
    assert resource["meta"]["versionId"] == "2"
    assert resource["numberOfInstances"] == 3
    assert len(running.pacs.instances) == 3


def test_the_same_content_again_sends_nothing(running: Running) -> None:
    """Sending a delivered study again makes no generation, no version and no second image."""
    running.send(make_study())
    running.rest()
    asked = len(running.ehr.received)
    running.send(make_study())
    wait_until(lambda: all(row.ended_at for row in running.rows(associations)))
    running.rest()
    assert len(running.rows(generations)) == 1
    assert len(running.ehr.received) == asked
    assert len(running.pacs.instances) == 6


def test_two_patients_in_one_study_hold_it_until_released(running: Running) -> None:
    """A study of two Patient IDs goes nowhere; a person's release sends it everywhere."""
    running.send([make_instance(number=1), make_instance(number=2, PatientID="P2")])
    [study] = running.rest()
    assert study.state == "held"
    assert running.imaging_studies() == []
    assert running.pacs.instances == []
    [hold] = running.rows(holds)
    assert hold.reason == "patient_conflict"
    app = running.site.app
    with app.database.write() as connection:
        release(connection, hold.hold_key, by="jo", now=app.clock.now())
    wait_until(lambda: running.studies()[0].state == "delivered")
    assert len(running.imaging_studies()) == 1
    assert len(running.pacs.instances) == 2


def test_a_dead_ehr_does_not_keep_images_from_the_pacs(running: Running) -> None:
    """While the EHR fails the PACS is served; when it returns the study arrives once."""
    running.ehr.fail_next(*[Fault(status=503)] * 3)
    running.send(make_study())
    wait_until(lambda: len(running.pacs.instances) == 6)
    running.rest()
    [resource] = running.imaging_studies()
    assert resource["meta"]["versionId"] == "1"
    ehr = next(row for row in running.rows(deliveries) if row.destination == "ehr")
    tries = [a for a in running.rows(attempts) if a.delivery_key == ehr.delivery_key]
    assert [a.outcome for a in tries] == ["retrying"] * 3 + ["delivered"]


def test_a_restart_goes_on_where_it_was(running: Running) -> None:
    """A study whose EHR is away survives a restart of the site and is delivered after it."""
    running.ehr.fail_next(*[Fault(status=503)] * 2)
    running.send(make_study())
    running.restart()
    running.rest()
    assert [r["meta"]["versionId"] for r in running.imaging_studies()] == ["1"]
    assert len({image.sop_instance_uid for image in running.pacs.instances}) == 6


def test_an_operator_settles_a_study_at_once(tmp_path: Path, migrated_database_url: str) -> None:
    """A study within its quiet time is published when a person asks, and the ledger says who."""
    slow = {"settle": {"quiet_seconds": 3600}}
    with running_site(tmp_path, migrated_database_url, channel=slow) as running:
        running.send(make_study())
        [study] = running.studies()
        assert study.state == "receiving"
        app = running.site.app
        with app.database.write() as connection:
            assert request_settling(connection, uid("study"), by="jo", now=app.clock.now())
        running.rest()
        [generation] = running.rows(generations)
        assert (generation.evidence, "jo" in generation.evidence_detail) == ("operator", True)


HOOKS = {
    "changes": (
        "def transform(message):\n"
        "    message.payload['description'] = 'by the hook'\n"
        "    return message\n"
    ),
    "filters": "def transform(message):\n    return None\n",
    "fails": "def transform(message):\n    raise ValueError('no ' + message.study['PatientID'])\n",
}


def _with_hook(folder: Path, name: str) -> dict[str, Any]:
    hook = folder / "hook.py"
    hook.write_text(HOOKS[name])
    return {"transformer": str(hook)}


def test_the_sites_hook_changes_what_is_published(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """What the transformer returns is what the EHR gets."""
    channel = _with_hook(tmp_path, "changes")
    with running_site(tmp_path, migrated_database_url, channel=channel) as running:
        running.send(make_study())
        running.rest()
        assert [r["description"] for r in running.imaging_studies()] == ["by the hook"]


def test_the_sites_hook_leaves_a_study_out(tmp_path: Path, migrated_database_url: str) -> None:
    """A study that the transformer filters out goes nowhere, and the ledger says so."""
    channel = _with_hook(tmp_path, "filters")
    with running_site(tmp_path, migrated_database_url, channel=channel) as running:
        running.send(make_study())
        [study] = running.rest()
        assert study.state == "filtered"
        assert running.imaging_studies() == []
        assert running.pacs.instances == []


def test_a_failing_hook_is_a_dead_letter(tmp_path: Path, migrated_database_url: str) -> None:
    """An exception in the transformer stops the study, not the site, and tells no patient."""
    channel = _with_hook(tmp_path, "fails")
    with running_site(tmp_path, migrated_database_url, channel=channel) as running:
        running.send(make_study())
        [study] = running.rest()
        assert study.state == "failed"
        running.send([])


def test_r5_is_published_as_r5(tmp_path: Path, migrated_database_url: str) -> None:
    """A destination that speaks R5 gets the R5 shape."""
    with running_site(tmp_path, migrated_database_url, release="r5") as running:
        running.send(make_study())
        running.rest()
        [resource] = running.imaging_studies()
        assert "coding" in resource["modality"][0]
