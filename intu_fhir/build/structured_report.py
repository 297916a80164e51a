"""The content tree of a structured report (PS3.3 C.17.3, PS3.16 annex A).

Reports come from many makers, so nothing is taken for granted: what cannot be read is left out,
and a tree that is too deep or too large is not read at all, for half a report may mislead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from intu_fhir.build.concepts import DCM, Concept, concept_of
from intu_fhir.build.source import Source
from intu_fhir.model.study import Study
from intu_fhir.model.values import Values, items, text

MAX_DEPTH = 32
MAX_ITEMS = 20_000

SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"

CONTENT = "ContentSequence"
DOCUMENT_ATTRIBUTES = (
    "CodingSchemeIdentificationSequence",
    "CompletionFlag",
    "ConceptNameCodeSequence",
    "ContentSequence",
    "ContentTemplateSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientID",
    "PredecessorDocumentsSequence",
    "PreliminaryFlag",
    "ReferencedRequestSequence",
    "TimezoneOffsetFromUTC",
    "ValueType",
    "VerificationFlag",
)
"""What is read of a report; with sequences comes everything inside them."""

_NAME = "ConceptNameCodeSequence"
_SUBJECT_CLASS, _PATIENT, _SUBJECT_ID, _STUDY_UID = "121024", "121025", "121030", "121018"


def is_report(sop_class_uid: str) -> bool:
    """Say whether a SOP class is a structured report that can hold results."""
    return sop_class_uid.startswith(SR_CLASSES) and sop_class_uid != KEY_OBJECTS


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One content item (PS3.3 C.17.3.2).

    Args:
        path: its place, the way PS3.3 C.17.3.2.5 counts, such as ``1.7.2``; the root is ``1``.
        values: raw values of the item by keyword, its children among them.
    """

    path: str
    relationship: str
    value_type: str
    name: Concept | None
    values: Values
    children: tuple[ContentItem, ...] = ()

    def is_named(self, code: str, system: str = DCM) -> bool:
        """Say whether its concept name is this code."""
        return self.name is not None and any(
            c["code"] == code and c["system"] == system for c in self.name.codings
        )

    def all(self, code: str, system: str = DCM) -> list[ContentItem]:
        """Return the children with this concept name."""
        return [child for child in self.children if child.is_named(code, system)]

    def first(self, code: str, system: str = DCM) -> ContentItem | None:
        """Return the first child with this concept name."""
        return next(iter(self.all(code, system)), None)

    def related(self, relationship: str) -> list[ContentItem]:
        """Return the children in this relationship."""
        return [child for child in self.children if child.relationship == relationship]

    def descend(self) -> Iterator[ContentItem]:
        """Give the item and everything below it."""
        yield self
        for child in self.children:
            yield from child.descend()


@dataclass(frozen=True, slots=True)
class Report:
    """A structured report.

    Args:
        template: Template Identifier (0040,DB00) of the standard's own templates, or nothing.
        values: attributes of the document by keyword.
    """

    uid: str
    template: str
    root: ContentItem
    values: Values

    @property
    def complete(self) -> bool:
        """Whether nothing is missing (Completion Flag, 0040,A491), and it is no draft."""
        flag = text(self.values, "CompletionFlag").upper()
        return flag == "COMPLETE" and not self.preliminary

    @property
    def verified(self) -> bool:
        """Whether a person stands for it (Verification Flag, 0040,A493)."""
        return text(self.values, "VerificationFlag").upper() == "VERIFIED"

    @property
    def preliminary(self) -> bool:
        """Whether it calls itself a draft (Preliminary Flag, 0040,A496)."""
        return text(self.values, "PreliminaryFlag").upper() == "PRELIMINARY"

    @property
    def predecessors(self) -> frozenset[str]:
        """SOP Instance UIDs of the reports that it takes the place of (0040,A360)."""
        return frozenset(_referenced(self.values, "PredecessorDocumentsSequence"))


class _TooLarge(Exception):
    """The tree is deeper or larger than is read."""


def read_report(source: Source, values: Values) -> Report | None:
    """Read a report; None where there is nothing to make of it, with the reason noted.

    Args:
        source: looks at the report's instance; takes the notes.
        values: the whole document by keyword.
    """
    try:
        root = _Reader(source).item(values, "1", 1)
    except _TooLarge:
        source.note("report_too_large", CONTENT)
        return None
    report = Report(source.uid, _template(values), root, values)
    if not is_about(report, source.study):
        source.note("report_of_other", CONTENT)
        return None
    return report


class _Reader:
    """Reads the items of one report up to the limits."""

    def __init__(self, source: Source) -> None:
        self._source, self._left = source, MAX_ITEMS

    def item(self, values: Values, path: str, depth: int) -> ContentItem:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise _TooLarge
        children = tuple(
            self.item(child, f"{path}.{number}", depth + 1)
            for number, child in enumerate(_children(values), 1)
            if not text(child, "ReferencedContentItemIdentifier")
        )
        name = items(values, _NAME)
        return ContentItem(
            path=path,
            relationship=text(values, "RelationshipType").upper(),
            value_type=text(values, "ValueType").upper(),
            name=concept_of(self._source, name[0], _NAME) if name else None,
            values=values,
            children=children,
        )


def _children(values: Values) -> list[Values]:
    """Return all items below, empty ones too: they count in the paths of the others."""
    found = values.get(CONTENT, "")
    return found if isinstance(found, list) else []


def _template(values: Values) -> str:
    for item in items(values, "ContentTemplateSequence"):
        if text(item, "MappingResource").upper() in {"DCMR", ""}:
            return text(item, "TemplateIdentifier")
    return ""


def is_about(report: Report, study: Study) -> bool:
    """Say whether a report speaks of the patient and the study that it was sent with.

    A report of a fetus or a specimen is not about the patient (PS3.16 TID 1006), and one whose
    evidence lies in other studies alone belongs to those.
    """
    patient = text(study.values, "PatientID")
    named = text(report.values, "PatientID")
    studies = [
        {text(item, "StudyInstanceUID") for item in items(report.values, keyword)} - {""}
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "ReferencedRequestSequence")
    ]
    if named and patient and named != patient:
        return False
    if any(uids and study.uid not in uids for uids in studies):
        return False
    return not any(_is_of_other(item, patient, study.uid) for item in report.root.descend())


def _is_of_other(item: ContentItem, patient: str, study_uid: str) -> bool:
    """Say whether an item of the observation context names another subject or study."""
    if item.relationship != "HAS OBS CONTEXT":
        return False
    if item.is_named(_SUBJECT_CLASS):
        codes = items(item.values, "ConceptCodeSequence")
        return bool(codes) and text(codes[0], "CodeValue") != _PATIENT
    if item.is_named(_SUBJECT_ID):
        named = text(item.values, "TextValue")
        return bool(named and patient) and named != patient
    return item.is_named(_STUDY_UID) and text(item.values, "UID") not in {"", study_uid}


def _referenced(values: Values, keyword: str) -> Iterator[str]:
    for study in items(values, keyword):
        for series in items(study, "ReferencedSeriesSequence"):
            for instance in items(series, "ReferencedSOPSequence"):
                yield text(instance, "ReferencedSOPInstanceUID")
