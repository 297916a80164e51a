"""What rejection notes take out of use (IHE RAD, Imaging Object Change Management).

A note is a key object selection whose document title says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from intu_fhir.model.study import Instance
from intu_fhir.model.values import Values, items, text

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
AVAILABLE, CANCELLED, IN_ERROR = "available", "cancelled", "entered-in-error"

REJECTIONS: Mapping[str, str] = {
    "113001": CANCELLED,
    "113037": IN_ERROR,
    "113038": IN_ERROR,
}
"""Status of a study whose instances are all rejected, by document title (PS3.16 CID 7011):
quality, patient safety, incorrect worklist entry."""

EXPIRED = "113039"
"""Title of a note that says that images were deleted in due time: the record of them stays, but
nobody can have them any more."""


def out_of_use(instances: Iterable[Instance]) -> frozenset[str]:
    """Return what nobody is to be shown any more: what notes reject or delete, and the notes.

    Args:
        instances: of one study; only key object selections matter.
    """
    notes = [note for note, _ in notes_in(instances)]
    return frozenset(uid for note in notes for uid in (note.uid, *referenced(note)))


def rejected_by_notes(instances: Iterable[Instance]) -> frozenset[str]:
    """Return what notes reject, and the notes; images that were deleted in due time are not it.

    Args:
        instances: of one study; only key object selections matter.
    """
    found: set[str] = set()
    for note, title in notes_in(instances):
        found.add(note.uid)
        if title in REJECTIONS:
            found.update(referenced(note))
    return frozenset(found)


def notes_in(instances: Iterable[Instance]) -> Iterator[tuple[Instance, str]]:
    """Give the notes among instances with their titles."""
    for instance in instances:
        if instance.sop_class_uid == KEY_OBJECT_SELECTION:
            for item in items(instance.values, "ConceptNameCodeSequence"):
                title = text(item, "CodeValue")
                known = title in REJECTIONS or title == EXPIRED
                if known and text(item, "CodingSchemeDesignator") == "DCM":
                    yield instance, title


def referenced(note: Instance) -> Iterator[str]:
    """Give the SOP Instance UIDs that a note speaks of."""
    evidence: list[Values] = items(note.values, "CurrentRequestedProcedureEvidenceSequence")
    for study in evidence:
        for series in items(study, "ReferencedSeriesSequence"):
            for instance in items(series, "ReferencedSOPSequence"):
                yield text(instance, "ReferencedSOPInstanceUID")
