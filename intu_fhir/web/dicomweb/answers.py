"""Matches of a search as data sets in the DICOM JSON model (PS3.18 10.6.3.3 and annex F)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from pydicom.datadict import tag_for_keyword

from intu_fhir.db.image_query import PROCEDURE_ID, STEP_DATE, STEP_ID, STEP_TIME, Hit, Level
from intu_fhir.stage.dictionary import vr_of

Json: TypeAlias = dict[str, Any]


def _words(text: str) -> list[str]:
    return text.split()


_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_SINGLE = frozenset({"LT", "ST", "UT", "UR"})
_STUDY = _words(
    "StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName "
    "StudyDescription PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex "
    "StudyInstanceUID StudyID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"
)
_SERIES = _words(
    "Modality SeriesDescription SeriesInstanceUID SeriesNumber SeriesDate SeriesTime "
    "BodyPartExamined Laterality NumberOfSeriesRelatedInstances"
)
_SERIES_MORE = _words(
    "StationName Manufacturer ManufacturerModelName PerformingPhysicianName OperatorsName"
)
_INSTANCE = _words(
    "SOPClassUID SOPInstanceUID InstanceNumber NumberOfFrames AvailableTransferSyntaxUID"
)

_STUDY_HEADER = _words(
    "TimezoneOffsetFromUTC OtherPatientIDs PatientBirthTime PatientAge PatientSize "
    "PatientWeight EthnicGroup Occupation AdditionalPatientHistory PatientComments "
    "NameOfPhysiciansReadingStudy ReferencedStudySequence AdmittingDiagnosesDescription "
    "ProcedureCodeSequence PhysiciansOfRecord InstitutionName"
)
_SERIES_HEADER = _words(
    "TimezoneOffsetFromUTC PerformedProcedureStepStartDate PerformedProcedureStepStartTime "
    "RequestAttributesSequence ProtocolName InstitutionalDepartmentName FrameOfReferenceUID "
    "PatientPosition PerformedProcedureStepID PerformedProcedureStepDescription "
    "SoftwareVersions DeviceSerialNumber"
)
_SERIES_USUAL = ("TimezoneOffsetFromUTC", STEP_DATE, STEP_TIME, STEP_ID.partition(".")[0])
_INSTANCE_USUAL = ("TimezoneOffsetFromUTC", "Rows", "Columns", "BitsAllocated")
_IN_REQUEST = frozenset(one.partition(".")[2] for one in (STEP_ID, PROCEDURE_ID))


def tag_of(keyword: str) -> str:
    """Return the tag of a keyword of PS3.6 as eight digits."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"{int(tag):08X}"


def _tags(keywords: Iterable[str]) -> frozenset[str]:
    return frozenset(map(tag_of, keywords))


_REQUESTS, _REQUEST_TAGS = tag_of("RequestAttributesSequence"), _tags(_IN_REQUEST)
_FROM_HEADER: Mapping[Level, frozenset[str]] = {
    "study": _tags(_STUDY_HEADER),
    "series": _tags(_STUDY_HEADER) | _tags(_SERIES_HEADER),
}
_USUAL: Mapping[Level, frozenset[str]] = {
    "study": frozenset(),
    "series": _tags(_SERIES_USUAL),
    "instance": _tags(_INSTANCE_USUAL),
}
FROM_COLUMNS = _tags((*_STUDY, *_SERIES, *_SERIES_MORE, *_INSTANCE))


def header_tags(level: Level, asked: frozenset[str], *, everything: bool) -> frozenset[str]:
    """Return which elements an answer needs of a complete header.

    What belongs to a lower level is not returned (PS3.18 10.6.3.3).
    """
    if level == "instance":
        return _USUAL[level] | (asked - FROM_COLUMNS)
    known = _FROM_HEADER[level]
    return _USUAL[level] | (known if everything else known & asked)


def answer(
    level: Level,
    hit: Hit,
    header: Mapping[str, Any],
    *,
    url: str,
    parents: Iterable[Level],
    asked: frozenset[str],
    everything: bool,
) -> Json:
    """Return a match as a data set.

    Args:
        header: elements of a complete header, of which it speaks.
        url: where it is retrieved.
        parents: levels above whose attributes are returned as well.
        asked: tags that are returned beside the usual ones.
    """
    keywords = list(_OWN[level])
    for parent in parents:
        keywords += _OWN[parent]
    more = _SERIES_MORE if level != "study" else []
    above = {"study": [], "series": _STUDY, "instance": [*_STUDY, *_SERIES]}[level]
    keywords += [k for k in (*more, *above) if tag_of(k) in asked or (everything and k in more)]
    data_set = {tag: entry for tag, entry in header.items() if tag != _REQUESTS}
    if _REQUESTS in header:
        data_set[_REQUESTS] = _requests(header[_REQUESTS])
    data_set |= dict(element(k, hit.values.get(k, "")) for k in keywords)
    data_set |= dict([element("SpecificCharacterSet", "ISO_IR 192"), element("RetrieveURL", url)])
    availability = "ONLINE" if hit.is_available else "UNAVAILABLE"
    data_set |= dict([element("InstanceAvailability", availability)])
    return dict(sorted(data_set.items()))


_OWN: Mapping[Level, list[str]] = {"study": _STUDY, "series": _SERIES, "instance": _INSTANCE}


def _requests(sequence: Json) -> Json:
    """Return a Request Attributes Sequence with the two that Table 10.6.3-4 asks for."""
    items = [
        {tag: entry for tag, entry in item.items() if tag in _REQUEST_TAGS}
        for item in sequence.get("Value", ())
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def element(keyword: str, raw: str) -> tuple[str, Json]:
    """Return the tag and the JSON of an attribute with a raw value."""
    tag = tag_of(keyword)
    vr = vr_of(int(tag, 16))
    parts = [raw] if vr in _SINGLE else raw.split("\\")
    values = [_VALUE.get(vr, str.strip)(part) for part in parts] if raw.strip() else []
    return tag, {"vr": vr, "Value": values} if values else {"vr": vr}


def _name(raw: str) -> Json:
    groups = zip(_GROUPS, raw.split("="), strict=False)
    return {group: text for group, text in groups if text}


def _whole(raw: str) -> int | str:
    """Return a number; what is none stays as it came (PS3.18 F.2.3.1)."""
    try:
        return int(raw)
    except ValueError:
        return raw.strip()


_VALUE: Mapping[str, Callable[[str], Any]] = {"PN": _name, "IS": _whole}
