"""What rejection notes make of a study (IHE RAD, Imaging Object Change Management)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from intu_fhir.build.notes import Notes
from intu_fhir.model.study import Instance, Study
from intu_fhir.model.values import Values, items, text

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
AVAILABLE, CANCELLED, IN_ERROR = "available", "cancelled", "entered-in-error"

REJECTIONS: Mapping[str, str] = {
    "113001": CANCELLED,
    "113037": IN_ERROR,
    "113038": IN_ERROR,
}
"""Status of a study whose instances are all rejected, by document title (PS3.16 CID 7011):
quality, patient safety, incorrect worklist entry. Expired retention, 113039, rejects nothing."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a study, and its status."""

    study: Study
    status: str


def without_rejected(study: Study, notes: Notes) -> Kept:
    """Take out what rejection notes reject, and the notes themselves.

    A study without any instance left keeps no series; its status says why.
    """
    titles = list(_notes_of(study))
    if not titles:
        return Kept(study, AVAILABLE)
    rejected = {uid: status for note, status in titles for uid in _referenced(note)}
    gone = set(rejected) | {note.uid for note, _ in titles}
    series = tuple(
        replace(one, instances=tuple(i for i in one.instances if i.uid not in gone))
        for one in study.series
    )
    kept = replace(study, series=tuple(one for one in series if one.instances))
    notes.add("instances_rejected", "study", study.uid, "ConceptNameCodeSequence")
    if kept.series:
        return Kept(kept, AVAILABLE)
    reasons = {status for _, status in titles}
    return Kept(kept, IN_ERROR if IN_ERROR in reasons else CANCELLED)


def _notes_of(study: Study) -> Iterator[tuple[Instance, str]]:
    for series in study.series:
        for instance in series.instances:
            if instance.sop_class_uid == KEY_OBJECT_SELECTION:
                for item in items(instance.values, "ConceptNameCodeSequence"):
                    status = REJECTIONS.get(text(item, "CodeValue"))
                    if status and text(item, "CodingSchemeDesignator") == "DCM":
                        yield instance, status


def _referenced(note: Instance) -> Iterator[str]:
    evidence: list[Values] = items(note.values, "CurrentRequestedProcedureEvidenceSequence")
    for study in evidence:
        for series in items(study, "ReferencedSeriesSequence"):
            for instance in items(series, "ReferencedSOPSequence"):
                yield text(instance, "ReferencedSOPInstanceUID")
