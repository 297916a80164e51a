"""What is built is valid in the eyes of validators that share no code with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intu_fhir.app.reading import read_studies
from intu_fhir.build.imaging_study import BuildContext, ImageService, build_imaging_study
from intu_fhir.build.validate import validate_resource
from intu_fhir.errors import IntuError
from intu_fhir.mappings import Release, load_mapping
from intu_fhir.model.finding import errors
from intu_fhir.model.study import Study
from intu_fhir.settings.schema import Identifiers
from tests.support.building import KO, SR, build, code_item, header
from tests.support.data import pydicom_files, require_shared_data
from tests.support.validators import Objection, validate_independently

CONTEXT = BuildContext(
    time_zone="Europe/Berlin",
    identifiers=Identifiers.model_validate(
        {"patient": {"default": "urn:oid:1.2.3"}, "accession": {"default": "urn:oid:1.2.4"}}
    ),
    image_service=ImageService(reference="Endpoint/wado"),
)
RELEASES: dict[str, Release] = {"r4": "r4", "r4b": "r4", "r5": "r5"}
ISSUER = [{"UniversalEntityID": "1.2.840.1", "UniversalEntityIDType": "ISO"}]
PERSON = [{"PersonIdentificationCodeSequence": [code_item("7", "SCT")]}]


def _full() -> list[dict[str, Any]]:
    """Return headers that fill every element the shipped mapping has."""
    common: dict[str, Any] = {
        "PatientName": "Yamada^Tarou=山田^太郎",
        "IssuerOfPatientIDQualifiersSequence": ISSUER,
        "TimezoneOffsetFromUTC": "+0900",
        "StudyDescription": "CT Thorax",
        "AccessionNumber": "A1",
        "IssuerOfAccessionNumberSequence": ISSUER,
        "ReferringPhysicianName": "Meier^Eva^^Dr.",
        "ReferringPhysicianIdentificationSequence": PERSON,
        "NameOfPhysiciansReadingStudy": "A^B\\C^D",
        "PerformingPhysicianName": "P^Q",
        "OperatorsName": "R^S\\T^U",
        "AdmissionID": "V1",
        "IssuerOfAdmissionIDSequence": ISSUER,
        "InstitutionalDepartmentName": "Radiology",
        "ProcedureCodeSequence": [code_item("24627-2", "LN", "Chest CT")],
        "RequestAttributesSequence": [
            {
                "AccessionNumber": "A2",
                "ReasonForRequestedProcedureCodeSequence": [code_item("267036007", "SCT", "x")],
            }
        ],
        "SpecimenDescriptionSequence": [{"SpecimenIdentifier": "S1"}],
        "SeriesDate": "20240301",
        "SeriesTime": "102000.12",
        "SeriesDescription": "Lung",
    }
    return [
        header(1, **common, BodyPartExamined="CHEST", Laterality="L"),
        header(2, **common, BodyPartExamined="CHEST", Laterality="L"),
        header(1, series=2, **common, BodyPartExamined="XYZ", Laterality="U"),
        header(
            1,
            series=3,
            **common | {"Modality": "SR"},
            sop_class=SR,
            ConceptNameCodeSequence=[code_item("18748-4", "LN", "Report")],
        ),
        header(1, series=4, **common | {"Modality": "KO"}, sop_class=KO),
    ]


@pytest.mark.parametrize("release", RELEASES)
def test_full_study(release: str) -> None:
    """A study with every element filled is valid in each release."""
    one = RELEASES[release]
    made = build(*_full(), release=one, context=CONTEXT).resource
    filled = {"encounter", "started", "basedOn", "referrer", "endpoint", "location", "description"}
    assert filled <= set(made)
    assert validate_independently([made], release) == []


@pytest.mark.parametrize("release", RELEASES)
def test_sparse_study(release: str) -> None:
    """A study with almost nothing in its headers is valid in each release."""
    sparse = header(PatientID=None, StudyDate=None, Modality=None, InstanceNumber=None)
    made = build(sparse, release=RELEASES[release]).resource
    assert validate_independently([made], release) == []


def _studies(paths: list[Path]) -> list[Study]:
    """Return the studies of all files that staging takes."""
    return read_studies([path for path in paths if _is_taken(path)])


def _is_taken(path: Path) -> bool:
    try:
        read_studies([path])
    except IntuError:
        return False
    return True


@pytest.mark.parametrize("release", RELEASES)
def test_real_studies_of_pydicom(release: str) -> None:
    """Every study of pydicom's test files is valid."""
    _judge(_studies(pydicom_files()), release)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_real_studies(release: str) -> None:
    """Every study of the folder of real studies is valid, merged from all of its files."""
    files = sorted(path for path in (require_shared_data() / "dicom").rglob("*") if path.is_file())
    _judge(_studies(files), release)


def _judge(studies: list[Study], release: str) -> None:
    """Each resource without errors of our own has none in the eyes of others."""
    one = RELEASES[release]
    made = [build_imaging_study(s, load_mapping(), one, CONTEXT).resource for s in studies]
    good = [resource for resource in made if not errors(validate_resource(resource, one))]
    assert len(good) > 0.9 * len(made) > 5
    objections: list[Objection] = validate_independently(good, release)
    assert objections == []
