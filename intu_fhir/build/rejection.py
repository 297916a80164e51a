"""What rejection notes make of a study (IHE RAD, Imaging Object Change Management)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intu_fhir.build.notes import Notes
from intu_fhir.model.finding import IMAGES_EXPIRED
from intu_fhir.model.rejection import (
    AVAILABLE,
    CANCELLED,
    EXPIRED,
    IN_ERROR,
    REJECTIONS,
    notes_in,
    referenced,
)
from intu_fhir.model.study import Instance, Series, Study


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
    titles = list(notes_in(one for series in study.series for one in series.instances))
    if not titles:
        return Kept(study, AVAILABLE)
    rejecting = [(note, REJECTIONS[title]) for note, title in titles if title in REJECTIONS]
    rejected = {uid for note, _ in rejecting for uid in referenced(note)}
    if rejecting:
        notes.add("instances_rejected", "study", study.uid, "ConceptNameCodeSequence")
    kept = _without(study, rejected | {note.uid for note, _ in titles})
    if kept.series:
        return Kept(kept, AVAILABLE, _is_expired(kept, titles, notes))
    reasons = {status for _, status in rejecting}
    return Kept(kept, IN_ERROR if IN_ERROR in reasons else CANCELLED)


def _without(study: Study, gone: set[str]) -> Study:
    series = (_series_without(one, gone) for one in study.series)
    return replace(study, series=tuple(one for one in series if one.instances))


def _series_without(series: Series, gone: set[str]) -> Series:
    """Leave instances out, and what their headers alone say."""
    return replace(
        series,
        instances=tuple(one for one in series.instances if one.uid not in gone),
        groups=tuple(one for one in series.groups if not one.rejected),
    )


def _is_expired(study: Study, titles: list[tuple[Instance, str]], notes: Notes) -> bool:
    """Say whether notes tell of every instance that it was deleted in due time."""
    deleted = {uid for note, title in titles if title == EXPIRED for uid in referenced(note)}
    listed = {instance.uid for series in study.series for instance in series.instances}
    if not deleted or not listed <= deleted:
        return False
    notes.add(IMAGES_EXPIRED, "study", study.uid, "ConceptNameCodeSequence")
    return True
