"""The independent validators can say no: they are worth nothing otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.validators import validate_independently

DCM = "http://dicom.nema.org/resources/ontology/DCM"
MODALITY: dict[str, dict[str, Any]] = {
    "r4": {"system": DCM, "code": "CT"},
    "r4b": {"system": DCM, "code": "CT"},
    "r5": {"coding": [{"system": DCM, "code": "CT"}]},
}


def imaging_study(release: str, **changes: Any) -> dict[str, Any]:
    """Return a valid ImagingStudy, or one with changes; a change to None removes the element."""
    instance = {
        "uid": "1.2.3",
        "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
    }
    resource = {
        "resourceType": "ImagingStudy",
        "status": "available",
        "subject": {"reference": "Patient/1"},
        "started": "2024-02-29T10:15:30+01:00",
        "numberOfSeries": 1,
        "series": [{"uid": "1.2", "modality": MODALITY[release], "instance": [instance]}],
    } | changes
    return {key: value for key, value in resource.items() if value is not None}


@pytest.mark.parametrize("release", MODALITY)
def test_valid_study_passes(release: str) -> None:
    """A correct ImagingStudy meets no objection in its own release."""
    assert validate_independently([imaging_study(release)], release) == []


@pytest.mark.parametrize("release", MODALITY)
def test_mistakes_are_named(release: str) -> None:
    """Each of these mistakes is found, in every release."""
    mistakes: list[dict[str, Any]] = [
        {"status": "final"},
        {"status": None},
        {"subject": None},
        {"subject": {"reference": "Practitioner/1"}},
        {"unheardOf": 1},
        {"numberOfSeries": "1"},
        {"series": [{"uid": "1" * 65, "modality": MODALITY[release]}]},
        {"series": [{"uid": "1.2"}]},
    ]
    resources = [imaging_study(release, **mistake) for mistake in mistakes]
    found = {objection.index for objection in validate_independently(resources, release)}
    assert [mistakes[i] for i in range(len(mistakes)) if i not in found] == []


def test_releases_are_told_apart() -> None:
    """A modality in the form of one release is an error in the other."""
    assert validate_independently([imaging_study("r5")], "r4")
    assert validate_independently([imaging_study("r4")], "r5")


def test_both_validators_take_part() -> None:
    """What only one of them looks at is found by that one."""
    code = validate_independently([imaging_study("r4", status="final")])
    length = validate_independently(
        [imaging_study("r4", series=[{"uid": "1" * 65, "modality": MODALITY["r4"]}])]
    )
    assert {objection.validator for objection in code} == {"fhir.js"}
    assert {objection.validator for objection in length} == {"medplum"}
