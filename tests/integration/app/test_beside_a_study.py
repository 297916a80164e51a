"""What goes to the EHR beside the ImagingStudy: in one transaction or one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.tables import (
    attempts,
    companions,
    delivered_resources,
    deliveries,
    resources,
)
from intu_fhir.demo.ehr import Fault, Features
from intu_fhir.demo.fhir_http import references
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.publications import imaging_study
from tests.support.reports import (
    VOLUME,
    ct_dose,
    group,
    measured,
    num,
    replacing,
)
from tests.support.running import Running, running_site
from tests.support.studies import make_instance
from tests.support.validators import validate_independently
from tests.support.waiting import wait_until

EVERYTHING = {
    "endpoint": True,
    "wado_rs": "https://pacs.example.org/dicom-web",
    "device": True,
    "provenance": True,
    "dose": True,
    "measurements": True,
}
EQUIPMENT = {
    "Manufacturer": "Maker",
    "ManufacturerModelName": "Scanner One",
    "DeviceSerialNumber": "SN-1",
}
MODES = {"at once": Features(), "in turn": Features(transaction=False)}


@contextmanager
def site(
    folder: Path, database: str, features: Features = MODES["at once"], **publish: Any
) -> Iterator[Running]:
    """Run a site whose EHR gets what ``publish`` says, everything by default."""
    with running_site(
        folder, database, ehr={"publish": publish or EVERYTHING}, features=features
    ) as running:
        yield running


def of_type(running: Running, kind: str) -> list[dict[str, Any]]:
    """Return the newest version of every resource of a type at the EHR."""
    return running.ehr.resources(kind)


def writes(running: Running, since: int = 0) -> list[str]:
    """Return what was written at the EHR: method and type; a transaction is "POST "."""
    return [
        f"{one.method} {one.path.split('?')[0].split('/')[0]}"
        for one in running.ehr.received[since:]
        if one.method != "GET" and "_search" not in one.path
    ]


@pytest.mark.parametrize("mode", MODES)
def test_everything_arrives_and_leads_to_each_other(
    tmp_path: Path, migrated_database_url: str, mode: str
) -> None:
    """Endpoint, Device, dose, measurements and Provenance of one study, all references whole."""
    with site(tmp_path, migrated_database_url, MODES[mode]) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(**EQUIPMENT), measured(number=2)])
        [row] = running.rest()
        assert row.state == "delivered"
        [study] = running.imaging_studies()
        [endpoint] = of_type(running, "Endpoint")
        [device] = of_type(running, "Device")
        assert study["endpoint"] == [
            {"reference": f"Endpoint/{endpoint['id']}", "type": "Endpoint"}
        ]
        actors = [one["actor"]["reference"] for s in study["series"] for one in s["performer"]]
        assert f"Device/{device['id']}" in actors
        observations = of_type(running, "Observation")
        assert len(observations) == 3
        for one in observations:
            assert one["subject"] == study["subject"]
            [found] = one.get("partOf") or one["derivedFrom"]
            assert found["reference"] == f"ImagingStudy/{study['id']}"
        [whole] = [one for one in observations if "hasMember" in one]
        member = whole["hasMember"][0]["reference"].split("/")[1]
        assert member in {one["id"] for one in observations}
        [told] = of_type(running, "Provenance")
        assert told["target"][0]["reference"].startswith(f"ImagingStudy/{study['id']}")
        assert len(told["target"]) == 4
        everything = running.ehr.resources()
        literal = [one["reference"] for one in references(everything)]
        assert [one for one in literal if one.startswith("urn:")] == []
        assert validate_independently(everything) == []
    expected = ["POST Endpoint", "POST Device", "POST "]
    if mode == "in turn":
        expected[2:] = ["POST ImagingStudy", *["POST Observation"] * 3, "PUT Provenance"]
    assert writes(running) == expected


@pytest.mark.parametrize("mode", [*MODES, "by the server"])
def test_what_the_ehr_had_before_keeps_what_others_added(
    tmp_path: Path, migrated_database_url: str, mode: str
) -> None:
    """A study that is found there, not remembered, is not replaced as a whole."""
    features = MODES.get(mode, Features(conditional_create=False))
    image = make_instance(**EQUIPMENT)
    ehrs = {"system": "https://ehr.example/studies", "value": "7"}
    there = imaging_study(str(image.StudyInstanceUID), note=[{"text": "theirs"}])
    with site(tmp_path, migrated_database_url, features) as running:
        running.ehr.store.write({**there, "identifier": [*there["identifier"], ehrs]})
        running.send([image, ct_dose(**EQUIPMENT)])
        [row] = running.rest()
        assert row.state == "delivered"
        [study] = running.imaging_studies()
        assert study["note"] == [{"text": "theirs"}]
        assert ehrs in study["identifier"]
        assert (study["numberOfInstances"], study["meta"]["versionId"]) == (2, "2")
        assert of_type(running, "Observation") != []


def test_nothing_beside_the_study_unless_asked_for(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """By default reports stay instances of the study, and nothing else is made."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(), measured(number=2)])
        running.rest()
        assert [one["resourceType"] for one in running.ehr.resources()] == ["ImagingStudy"]
        assert running.rows(companions) == []


@pytest.mark.parametrize("kind", ["device", "dose", "measurements", "provenance"])
def test_each_kind_alone(tmp_path: Path, migrated_database_url: str, kind: str) -> None:
    """A destination gets the kinds that it asks for, and no other."""
    with site(tmp_path, migrated_database_url, **{kind: True}) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(), measured(number=2)])
        running.rest()
        made = {"device": "Device", "provenance": "Provenance"}.get(kind, "Observation")
        assert {one["resourceType"] for one in running.ehr.resources()} == {"ImagingStudy", made}
        assert {row.kind for row in running.rows(delivered_resources)} == {kind}


def test_every_result_has_an_id_of_its_own(tmp_path: Path, migrated_database_url: str) -> None:
    """Where a server takes only ids of the client's, no result overwrites another one."""
    features = Features(conditional_update=False, conditional_create=False, transaction=False)
    with site(tmp_path, migrated_database_url, features) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(**EQUIPMENT), measured(number=2)])
        running.rest()
        assert len(of_type(running, "Observation")) == 3
        assert {one["meta"]["versionId"] for one in running.ehr.resources()} == {"1"}


@pytest.mark.parametrize("mode", MODES)
def test_again_sends_nothing(tmp_path: Path, migrated_database_url: str, mode: str) -> None:
    """A rebuild with the same content sends neither the study nor anything beside it."""
    with site(tmp_path, migrated_database_url, MODES[mode]) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(), measured(number=2)])
        running.rest()
        before = len(running.ehr.received)
        rebuild(running)
        assert writes(running, before) == []
        assert {one["meta"]["versionId"] for one in running.ehr.resources()} == {"1"}


def rebuild(running: Running) -> None:
    """Build and deliver everything anew."""
    app, tries = running.site.app, len(running.rows(attempts))
    replay(app.database, app.clock, ReplaySelection(rebuild=True))
    wait_until(lambda: len(running.rows(attempts)) > tries)
    running.rest()


def test_a_study_sends_shared_resources_once(tmp_path: Path, migrated_database_url: str) -> None:
    """The second study of a scanner finds its Device and the Endpoint there already."""
    with site(tmp_path, migrated_database_url) as running:
        running.send([make_instance("one", **EQUIPMENT)])
        running.rest()
        before = len(running.ehr.received)
        running.send([make_instance("two", **EQUIPMENT)])
        running.rest()
        assert writes(running, before) == ["POST "]
        assert len(of_type(running, "Device")) == 1
        assert len(of_type(running, "Endpoint")) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_late_image_leaves_results_alone(
    tmp_path: Path, migrated_database_url: str, mode: str
) -> None:
    """A new image makes version 2 of the study, a second Provenance and nothing else."""
    with site(tmp_path, migrated_database_url, MODES[mode]) as running:
        running.send([make_instance(), ct_dose(), measured(number=2)])
        running.rest()
        running.send([make_instance(number=7)])
        running.rest(generation=2)
        assert running.imaging_studies()[0]["meta"]["versionId"] == "2"
        assert {one["meta"]["versionId"] for one in of_type(running, "Observation")} == {"1"}
        activities = [
            one["activity"]["coding"][0]["code"] for one in of_type(running, "Provenance")
        ]
        assert sorted(activities) == ["CREATE", "UPDATE"]


@pytest.mark.parametrize("mode", MODES)
def test_a_later_report_updates_and_withdraws(
    tmp_path: Path, migrated_database_url: str, mode: str
) -> None:
    """What a later report repeats is updated, what it leaves out is entered in error."""
    first = measured(
        group(num(VOLUME, "1", "cm3", uid="1.2.3.4"), num(VOLUME, "9", "cm3", uid="1.2.3.5"),
              uid="1.2.3.6"),
        number=1,
    )  # fmt: skip
    later = replacing(
        measured(group(num(VOLUME, "2", "cm3", uid="1.2.3.4"), uid="1.2.3.6"), number=2), first
    )
    with site(tmp_path, migrated_database_url, MODES[mode], measurements=True) as running:
        running.send([make_instance(), first])
        running.rest()
        running.send([later])
        running.rest(generation=2)
        found = {one["identifier"][0]["value"]: one for one in of_type(running, "Observation")}
        assert len(found) == 3
        assert found["urn:oid:1.2.3.4"]["valueQuantity"]["value"] == 2
        assert found["urn:oid:1.2.3.4"]["status"] == "final"
        assert found["urn:oid:1.2.3.5"]["status"] == "entered-in-error"
        assert found["urn:oid:1.2.3.5"]["valueQuantity"]["value"] == 9
        assert len(found["urn:oid:1.2.3.6"]["hasMember"]) == 1
        [row] = [r for r in running.rows(delivered_resources) if r.withdrawn_at]
        assert row.identifier == "urn:dicom:uid|urn:oid:1.2.3.5"


def test_a_server_without_observations_still_gets_the_study(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """What the server does not take is left out, and the delivery says so."""
    features = Features(types=("ImagingStudy", "Patient"))
    with site(tmp_path, migrated_database_url, features) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose()])
        [row] = running.rest()
        assert row.state == "delivered"
        assert [one["resourceType"] for one in running.ehr.resources()] == ["ImagingStudy"]
        assert "Observation not sent: the server does not take it" in _warning(running)


def test_what_was_remarked_on_the_study_stays(tmp_path: Path, migrated_database_url: str) -> None:
    """That the study went without its list is said although the try broke off behind it, and
    after a rebuild that sends nothing; what was not sent beside it is said each time, once.
    """
    types = ("ImagingStudy", "Patient", "Device", "Endpoint", "Observation")
    features = Features(transaction=False, types=types)
    with site(tmp_path, migrated_database_url, features) as running:
        running.ehr.fail_next(Fault(status=413))
        running.ehr.fail_next(Fault(status=503, on=("POST Observation",)))
        images = [make_instance(number=number, **EQUIPMENT) for number in (1, 2)]
        running.send([*images, ct_dose()])
        running.rest()
        said = [_warning(running)]
        assert writes(running).count("POST ImagingStudy") == 2  # refused for its size, and taken
        rebuild(running)
        said.append(_warning(running))
    expected = (
        "sent without the list of its 3 instances, for their number; "
        "Provenance not sent: the server does not take it"
    )
    assert said == [expected, expected]


@pytest.mark.parametrize("publish", [{}, EVERYTHING], ids=["alone", "at once"])
def test_what_was_built_without_its_list_is_said(
    tmp_path: Path, migrated_database_url: str, publish: dict[str, Any]
) -> None:
    """The ledger tells of a study that was over the limit when it was built, as of any other."""
    with running_site(
        tmp_path, migrated_database_url, ehr={"publish": publish, "max_instances": 1}
    ) as running:
        running.send([make_instance(number=number, **EQUIPMENT) for number in (1, 2)])
        running.rest()
        [study] = running.imaging_studies()
        assert [one for one in study["series"] if "instance" in one] == []
        assert _warning(running).startswith("sent without the list of its 2 instances")


def _warning(running: Running) -> str:
    return str(next(row.warning for row in running.rows(deliveries) if row.destination == "ehr"))


@pytest.mark.parametrize("mode", MODES)
def test_a_lost_answer_doubles_nothing(
    tmp_path: Path, migrated_database_url: str, mode: str
) -> None:
    """A connection that breaks after the server acted leaves one of everything, version 1."""
    with site(tmp_path, migrated_database_url, MODES[mode]) as running:
        lost = ["POST ", "POST Observation", "POST Device", "POST Endpoint", "POST ImagingStudy"]
        for path in lost:
            running.ehr.fail_next(Fault(drop="after", on=(path,)))
        running.send([make_instance(**EQUIPMENT), ct_dose(**EQUIPMENT)])
        [row] = running.rest()
        assert row.state == "delivered"
        kinds = [one["resourceType"] for one in running.ehr.resources()]
        assert sorted(kinds) == ["Device", "Endpoint", "ImagingStudy", "Observation", "Provenance"]
        assert {one["meta"]["versionId"] for one in running.ehr.resources()} == {"1"}


def test_a_refused_result_does_not_keep_the_study_back(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Where the server refuses an Observation the study is there, and a replay sends the rest."""
    said = b"no observations today"
    with site(tmp_path, migrated_database_url, dose=True, provenance=True) as running:
        for path in ("POST ", "POST Observation"):
            running.ehr.fail_next(Fault(status=422, body=said, on=(path,)))
        running.send([make_instance(), ct_dose()])
        [row] = running.rest()
        assert row.state == "failed"
        assert [one["resourceType"] for one in running.ehr.resources()] == [
            "ImagingStudy",
            "Provenance",
        ]
        tried = next(r for r in running.rows(attempts) if r.outcome == "dead")
        assert tried.detail.startswith("The ImagingStudy is delivered; Observation: HTTP 422")
        app = running.site.app
        replay(app.database, app.clock, ReplaySelection())
        wait_until(lambda: running.studies()[0].state == "delivered")
        assert len(of_type(running, "Observation")) == 1
        assert running.imaging_studies()[0]["meta"]["versionId"] == "1"


def test_exact_digits_reach_the_server(tmp_path: Path, migrated_database_url: str) -> None:
    """12.50 is 12.50 in the table and in the request, on either database."""
    with site(tmp_path, migrated_database_url, dose=True) as running:
        running.send([make_instance(), ct_dose(num(("113813", "DCM", "DLP"), "12.50", "mGy.cm"))])
        running.rest()
        [row] = running.rows(companions)
        assert '"value":12.50' in row.resource
        [bundle] = [one.body for one in running.ehr.received if one.method == "POST"]
        assert b'"value":12.50' in bundle


def test_findings_about_reports_stand_with_the_study(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A report that cannot be used is named among the findings; the study goes out."""
    with site(tmp_path, migrated_database_url, dose=True) as running:
        running.send(
            [make_instance(), ct_dose(num(("113813", "DCM", "x"), "1,5", "mGy.cm", vr="LO"))]
        )
        [row] = running.rest()
        assert row.state == "delivered"
        [built] = running.rows(resources)
        assert "invalid_decimal" in {one["code"] for one in built.findings}


def test_the_other_release(tmp_path: Path, migrated_database_url: str) -> None:
    """An R5 server gets all of it in the form of R5."""
    with running_site(
        tmp_path, migrated_database_url, release="r5", ehr={"publish": EVERYTHING}
    ) as running:
        running.send([make_instance(**EQUIPMENT), ct_dose(), measured(number=2)])
        [row] = running.rest()
        assert row.state == "delivered"
        assert len(of_type(running, "Observation")) == 3
        assert "payload" in of_type(running, "Endpoint")[0]
        assert validate_independently(running.ehr.resources(), "r5") == []


@pytest.mark.timed
def test_a_slow_server_keeps_the_study_with_its_worker(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Results that take longer than a lease, one by one, are delivered by one try."""
    ehr = {"publish": {"measurements": True}, "concurrency": 2}  # a second worker could take it
    features = Features(transaction=False)
    with running_site(
        tmp_path, migrated_database_url, ehr=ehr, features=features, lease_seconds=0.6
    ) as running:
        for _ in range(4):
            running.ehr.fail_next(Fault(delay=0.4, on=("POST Observation",)))
        numbers = [num(VOLUME, str(n), "cm3", uid=f"1.2.3.{n}") for n in range(1, 5)]
        running.send([make_instance(), measured(group(*numbers, uid="1.2.3.9"), number=2)])
        [row] = running.rest()
        assert row.state == "delivered"
        assert len(running.rows(attempts)) == 2  # one of the EHR, one of the PACS
        assert {one["meta"]["versionId"] for one in running.ehr.resources()} == {"1"}
