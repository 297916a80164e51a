"""A study of one image whose header says something for almost every element of the mapping."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intu_fhir.app.library import build_imaging_study
from intu_fhir.build.imaging_study import BuildContext, ImageService
from intu_fhir.mappings.elements import Release

_HEADER = {
    "SpecificCharacterSet": "ISO_IR 192",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "SOPInstanceUID": "2.25.3",
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.2",
    "StudyDate": "20240301",
    "StudyTime": "1015",
    "SeriesDate": "20240301",
    "SeriesTime": "101730",
    "TimezoneOffsetFromUTC": "+0100",
    "AccessionNumber": "0001234",
    "Modality": "CT",
    "PatientID": "P1",
    "PatientName": "Sample^Sam",
    "AdmissionID": "V77",
    "ReferringPhysicianName": "Referrer^Rita",
    "NameOfPhysiciansReadingStudy": "Reader^Rob",
    "PerformingPhysicianName": "Performer^Pia",
    "InstitutionalDepartmentName": "Radiology",
    "StudyDescription": "CT Thorax",
    "SeriesDescription": "Lung",
    "SeriesNumber": "2",
    "InstanceNumber": "7",
    "BodyPartExamined": "LUNG",
    "Laterality": "L",
    "ContainerIdentifier": "C5",
    "ContentLabel": "KEY",
}


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


@cache
def sample_resource(release: Release) -> dict[str, Any]:
    """Return what the shipped mapping makes of it."""
    header = Dataset()
    for keyword, value in _HEADER.items():
        setattr(header, keyword, value)
    header.ProcedureCodeSequence = _code("169069000", "SCT", "CT of chest")
    header.ReasonForRequestedProcedureCodeSequence = _code("49727002", "SCT", "Cough")
    context = BuildContext(image_service=ImageService("Endpoint/images"))
    return build_imaging_study([header], release, context=context).resource


def example_of(level: str, name: str) -> Any:
    """Return the value of an element in the sample, R4 first; None where it has none."""
    releases: tuple[Release, ...] = ("r4", "r5")
    for release in releases:
        holder = sample_resource(release)
        if level != "study":
            holder = holder["series"][0]
        if level == "instance":
            holder = holder["instance"][0]
        if name in holder:
            return holder[name]
    return None
