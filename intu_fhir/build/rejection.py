"""What rejection notes make of a study (IHE RAD, Imaging Object Change Management)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from intu_fhir.build.notes import Notes
from intu_fhir.model.finding import IMAGES_EXPIRED
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
quality, patient safety, incorrect worklist entry."""

EXPIRED = "113039"
"""Title of a note that says that images were deleted in due time: the record of them stays, but
nobody can have them any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a study, and its status.

    Args:
        expired: its images are deleted, so no endpoint leads to them.
    """

    study: Study
    status: str
    expired: bool = False


def without_rejected(study: Study, notes: Notes) -> Kept:
    """Take out what rejection notes reject, and the notes themselves.

    A study without any instance left keeps no series; its status says why.
    """
    titles = list(_notes_in(one for series in study.series for one in series.instances))
    if not titles:
        return Kept(study, AVAILABLE)
    rejecting = [(note, REJECTIONS[title]) for note, title in titles if title in REJECTIONS]
    rejected = {uid for note, _ in rejecting for uid in _referenced(note)}
    if rejecting:
        notes.add("instances_rejected", "study", study.uid, "ConceptNameCodeSequence")
    kept = _without(study, rejected | {note.uid for note, _ in titles})
    if kept.series:
        return Kept(kept, AVAILABLE, _is_expired(kept, titles, notes))
    reasons = {status for _, status in rejecting}
    return Kept(kept, IN_ERROR if IN_ERROR in reasons else CANCELLED)


def _without(study: Study, gone: set[str]) -> Study:
    series = (
        replace(one, instances=tuple(i for i in one.instances if i.uid not in gone))
        for one in study.series
    )
    return replace(study, series=tuple(one for one in series if one.instances))


def _is_expired(study: Study, titles: list[tuple[Instance, str]], notes: Notes) -> bool:
    """Say whether notes tell of every instance that it was deleted in due time."""
    deleted = {uid for note, title in titles if title == EXPIRED for uid in _referenced(note)}
    listed = {instance.uid for series in study.series for instance in series.instances}
    if not deleted or not listed <= deleted:
        return False
    notes.add(IMAGES_EXPIRED, "study", study.uid, "ConceptNameCodeSequence")
    return True


def out_of_use(instances: Iterable[Instance]) -> frozenset[str]:
    """Return what nobody is to be shown any more: what notes reject or delete, and the notes.

    Args:
        instances: of one study; only key object selections matter.
    """
    notes = [note for note, _ in _notes_in(instances)]
    return frozenset(uid for note in notes for uid in (note.uid, *_referenced(note)))


def _notes_in(instances: Iterable[Instance]) -> Iterator[tuple[Instance, str]]:
    """Give the notes among instances with their titles."""
    for instance in instances:
        if instance.sop_class_uid == KEY_OBJECT_SELECTION:
            for item in items(instance.values, "ConceptNameCodeSequence"):
                title = text(item, "CodeValue")
                known = title in REJECTIONS or title == EXPIRED
                if known and text(item, "CodingSchemeDesignator") == "DCM":
                    yield instance, title


def _referenced(note: Instance) -> Iterator[str]:
    evidence: list[Values] = items(note.values, "CurrentRequestedProcedureEvidenceSequence")
    for study in evidence:
        for series in items(study, "ReferencedSeriesSequence"):
            for instance in items(series, "ReferencedSOPSequence"):
                yield text(instance, "ReferencedSOPInstanceUID")
