"""A study as a DocumentReference."""

from __future__ import annotations

from typing import Any

import pytest

from intu_fhir.build.document import document_reference
from intu_fhir.mappings import Release
from tests.support.publications import imaging_study

ORDER = {
    "type": "ServiceRequest",
    "identifier": {
        "type": {"coding": [{"system": "v2-0203", "code": "ACSN"}]},
        "system": "urn:oid:1.2.3.9",
        "value": "ACC-1",
    },
}
PLACER = {"type": "ServiceRequest", "identifier": {"value": "PLACER-1"}}
CT = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}
CHEST = {"system": "http://snomed.info/sct", "code": "51185008", "display": "Chest"}


def _study(release: str = "r4", **elements: Any) -> dict[str, Any]:
    study = imaging_study(
        release=release,
        description="CT of the chest",
        started="2024-03-01T10:00:00+01:00",
        basedOn=[ORDER, PLACER],
        encounter={"type": "Encounter", "identifier": {"value": "VISIT-1"}},
        modality=[CT if release == "r4" else {"coding": [CT]}],
        **elements,
    )
    coded = {"concept": {"coding": [CHEST]}} if release == "r5" else CHEST
    for series in study["series"]:
        series["bodySite"] = coded
    study["series"] *= 2
    return study


def _document(release: Release, **elements: Any) -> dict[str, Any]:
    return document_reference("1.2.3", _study(release, **elements), release).resource


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_it_says_which_study_of_whom(release: Release) -> None:
    """Study UID and accession number identify it; subject, description and type are there."""
    made = _document(release)
    assert [one["value"] for one in made["identifier"]] == ["urn:oid:1.2.3", "ACC-1"]
    assert made["subject"] == imaging_study()["subject"]
    assert made["description"] == "CT of the chest"
    assert [c["code"] for c in made["type"]["coding"]] == ["18748-4"]
    assert made["status"] == "current"
    [content] = made["content"]
    assert content["attachment"] == {
        "contentType": "application/dicom",
        "title": "CT of the chest",
        "creation": "2024-03-01T10:00:00+01:00",
    }


def test_its_form_in_r4() -> None:
    """Orders and the ImagingStudy are related; modality and body site are events, each once."""
    context = _document("r4")["context"]
    study = {
        "type": "ImagingStudy",
        "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
    }
    assert context["related"] == [study, ORDER, PLACER]
    assert context["event"] == [{"coding": [CT]}, {"coding": [CHEST]}]
    assert context["encounter"] == [{"type": "Encounter", "identifier": {"value": "VISIT-1"}}]
    assert context["period"] == {"start": "2024-03-01T10:00:00+01:00"}


def test_its_form_in_r5() -> None:
    """Release 5 has elements of its own for orders, modality and body site."""
    made = _document("r5")
    assert made["basedOn"] == [ORDER, PLACER]
    assert made["modality"] == [{"coding": [CT]}]
    assert made["bodySite"] == [{"concept": {"coding": [CHEST]}}]
    assert made["context"] == [{"type": "Encounter", "identifier": {"value": "VISIT-1"}}]
    assert made["period"] == {"start": "2024-03-01T10:00:00+01:00"}


def test_a_body_site_without_a_code_is_text() -> None:
    """What no code stands for is shown as it is."""
    study = _study()
    for series in study["series"]:
        series["bodySite"] = {"display": "LEFT THING"}
    made = document_reference("1.2.3", study, "r4").resource
    assert made["context"]["event"] == [{"coding": [CT]}, {"text": "LEFT THING"}]


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
@pytest.mark.parametrize("release", ["r4", "r5"])
def test_a_study_of_which_nothing_is_left_is_taken_back(release: Release, status: str) -> None:
    """A study whose images were all rejected is entered in error."""
    assert _document(release, status=status)["status"] == "entered-in-error"


def test_what_the_site_has_marked_stays_marked() -> None:
    """Security labels and tags of the study are those of the document; a version is not."""
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    made = _document("r4", meta={"security": [label], "versionId": "7"})
    assert made["meta"] == {"security": [label]}
    assert "meta" not in _document("r4")


def test_a_bare_study_makes_a_bare_document() -> None:
    """Nothing is invented where a study says nothing; no element is empty."""
    made = document_reference("1.2.3", imaging_study(), "r4").resource
    assert made["content"] == [{"attachment": {"contentType": "application/dicom"}}]
    assert set(made["context"]) == {"related"}
