"""What goes beside a study is valid in the eyes of validators that share no code with us."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from intu_fhir.build.companions import BuiltCompanions
from intu_fhir.build.endpoint import wado_rs_endpoint
from intu_fhir.deliver.document import complete as complete_document
from intu_fhir.mappings import Release
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.companion import Companion
from tests.support.data import require_shared_data
from tests.support.reports import companions, ct_dose, group, measured, num
from tests.support.studies import make_instance
from tests.support.validators import validate_independently

RELEASES: dict[str, Release] = {"r4": "r4", "r4b": "r4", "r5": "r5"}
EQUIPMENT = {
    "Manufacturer": "Maker",
    "ManufacturerModelName": "Scanner One",
    "DeviceSerialNumber": "SN-1",
    "SoftwareVersions": "1.0\\2.0",
}
REAL = {
    "dcmqi/sr-example/sr.dcm": 23,
    "highdicom/sr_document.dcm": 2,
    "highdicom/sr_document_with_multiple_groups.dcm": 10,
    "pydicom/test_files/reportsi.dcm": 0,
    "pydicom/test_files/test-SR.dcm": 0,
}
"""Observations that each real report makes: counted by hand in its content tree."""


def complete(companion: Companion) -> dict[str, Any]:
    """Return a companion as JSON; a Provenance gets what it is sent with."""
    resource = dict(companion.resource)
    if companion.kind == "provenance":
        resource["target"] = [{"reference": "ImagingStudy/1/_history/1"}]
        resource["recorded"] = "2024-03-01T10:00:00Z"
    if companion.kind == "document":
        address = "https://pacs.example.org/dicom-web/studies/1.2.3"
        when = datetime(2024, 3, 1, 10, tzinfo=UTC)
        resource, _ = complete_document(resource, resource["subject"], address, when)
    if resource.get("subject"):
        resource["subject"] = {"reference": "Patient/1", **resource["subject"]}
    done: dict[str, Any] = json.loads(canonical_json(resource))
    return done


@pytest.mark.parametrize("release", RELEASES)
def test_every_kind_is_valid(release: str) -> None:
    """Endpoint, Device, Provenance, dose and measurements in every release."""
    failed = group(num(("118565006", "SCT", "Volume"), None, "cm3"), finding=False)
    built = companions(
        make_instance(**EQUIPMENT),
        ct_dose(**EQUIPMENT),
        measured(number=2),
        measured(failed, number=3, VerificationFlag="UNVERIFIED"),
        release=RELEASES[release],
    )
    endpoint = wado_rs_endpoint("https://pacs.example.org/dicom-web", RELEASES[release])
    resources = [complete(one) for one in (*built.companions, endpoint)]
    assert {one["resourceType"] for one in resources} == {
        "Device",
        "DocumentReference",
        "Endpoint",
        "Observation",
        "Provenance",
    }
    assert validate_independently(resources, release) == []


@pytest.mark.parametrize("release", ["r4", "r5"])
def test_real_reports(release: Release) -> None:
    """Reports of other makers make the observations that were counted in them, all valid."""
    folder = require_shared_data() / "dicom"
    resources = []
    for name, expected in REAL.items():
        built = _built(folder / name, release)
        observations = [o for o in built.companions if o.identity.resource_type == "Observation"]
        assert (name, len(observations)) == (name, expected)
        resources += [complete(one) for one in built.companions]
    assert validate_independently(resources, release) == []


def _built(path: Path, release: Release) -> BuiltCompanions:
    plain = Dataset()  # without file meta information, as it is sent
    plain.update(dcmread(path))
    return companions(plain, release=release)
