"""Modality, body site and laterality (PS3.3 C.7.3.1, PS3.16 CID 29, 32, 33, 244, annex L)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from intu_fhir.build.concepts import DCM, NULL_FLAVOR, SCT, Concept, coding, concept_of
from intu_fhir.build.datatypes import clean_text, parts_of
from intu_fhir.build.source import Convert, Source
from intu_fhir.mappings import rules
from intu_fhir.mappings.tables import ModalityTerm
from intu_fhir.model.study import Series
from intu_fhir.model.values import Values, items, text

_PHANTOM = "PHANTOM"
LATERALITIES = {
    "L": coding(SCT, "7771000", "Left"),
    "R": coding(SCT, "24028007", "Right"),
    "B": coding(SCT, "51440002", "Bilateral"),
}
"""Codes of PS3.16 CID 244; unpaired (U) says that there is no side, so it is left out."""


def make_modality(rule: rules.Modality, *, kind: str) -> Convert:
    """Make the converter of ``series.modality``."""
    unknown = {
        "UNK": coding(NULL_FLAVOR, "UNK", "unknown"),
        "OT": coding(DCM, "OT", "Other Modality"),
    }[rule.unknown]

    def convert(source: Source) -> Sequence[Any]:
        series = source.series
        if series is None:
            return ()
        term = modality_of(source, series)
        code = coding(DCM, term.code, term.display) if term else unknown
        return (Concept([code]).shaped(kind),)

    return convert


def make_modalities(rule: rules.Modalities, *, kind: str) -> Convert:
    """Make the converter of the list of modalities: computed, never read from a header."""

    def convert(source: Source) -> Sequence[Any]:
        terms = [modality_of(source, series) for series in source.study.series]
        found = {term.code: term for term in terms if term is not None and term.set in rule.sets}
        return [
            Concept([coding(DCM, code, found[code].display)]).shaped(kind) for code in sorted(found)
        ]

    return convert


def modality_of(source: Source, series: Series) -> ModalityTerm | None:
    """Return the modality of a series: its term, else what its most frequent SOP class says."""
    tables = source.tables
    raw = text(series.values, "Modality")
    for part in parts_of(raw):
        term = tables.modalities.get("".join(part.upper().split()))
        if term is not None:
            if term.set == "retired":
                source.notes.add("retired_modality", "series", series.uid, "Modality")
            return term
    source.notes.add("unknown_modality", "series", series.uid, "Modality")
    classes = Counter(instance.sop_class_uid for instance in series.instances)
    frequent = sorted(classes, key=lambda uid: (-classes[uid], uid))
    found = (tables.modalities.get(tables.modality_of(uid)) for uid in frequent)
    return next((term for term in found if term is not None), None)


def make_body_site(rule: rules.BodySite, *, kind: str) -> Convert:
    """Make the converter of ``bodySite``."""

    def convert(source: Source) -> Sequence[Any]:
        region = _anatomic_region(source)
        if region is not None and region.codings:
            return (region.shaped(kind),)
        part = _body_part(source)
        # Of two that say it, one that says it by a code is understood everywhere.
        concept = part if part is not None and part.codings else region or part
        return (concept.shaped(kind),) if concept else ()

    return convert


def _anatomic_region(source: Source) -> Concept | None:
    sequence = items(source.values, "AnatomicRegionSequence") or _of_frames(source)
    if len(sequence) > 1:
        source.note("several_values", "AnatomicRegionSequence")
    found = (concept_of(source, item, "AnatomicRegionSequence") for item in sequence)
    return next(filter(None, found), None)


def _of_frames(source: Source) -> list[Values]:
    """Return the regions of the frames of enhanced images (PS3.3 C.7.6.16.2.8)."""
    found: list[Values] = []
    for item in source.every_item("FrameAnatomySequence.AnatomicRegionSequence"):
        if item not in found:
            found.append(item)
    return found


def _body_part(source: Source) -> Concept | None:
    parts = parts_of(text(source.values, "BodyPartExamined"))
    if len(parts) > 1:
        source.note("several_values", "BodyPartExamined")
    for part in parts:
        spelling = source.tables.spelling(part)
        site = source.tables.body_sites.get(spelling.term)
        if spelling.term == _PHANTOM:
            source.note("phantom_imaged", "BodyPartExamined")
        if site is not None and site.code:
            return Concept([coding(SCT, site.code, site.meaning)])
    return _body_part_text(source, parts)


def _body_part_text(source: Source, parts: list[str]) -> Concept | None:
    """Return a body part as it stands; what says nothing, such as UNKNOWN, is left out."""
    for part in parts:
        spelling = source.tables.spelling(part)
        shown = clean_text(part)
        if shown is None:
            source.note("damaged_text", "BodyPartExamined")
        elif spelling.term and shown:
            source.note("unknown_body_site", "BodyPartExamined")
            return Concept([], shown)
    return None


def make_laterality(rule: rules.Laterality, *, kind: str) -> Convert:
    """Make the converter of ``laterality``."""

    def convert(source: Source) -> Sequence[Any]:
        sides = _sides(source)
        if len(sides) > 1 and rule.mixed == "omit":
            return ()
        side = "B" if len(sides) > 1 else next(iter(sides), "")
        return (Concept([LATERALITIES[side]]).shaped(kind),) if side else ()

    return convert


def _sides(source: Source) -> set[str]:
    """Return the sides of a series: of its images, their frames, its own, else its body part's."""
    for keyword in ("ImageLaterality", "FrameAnatomySequence.FrameLaterality", "Laterality"):
        values = {part.upper() for raw in source.every_text(keyword) for part in parts_of(raw)}
        if values - set(LATERALITIES) - {"U"}:
            source.note("unknown_laterality", keyword)
        if sides := values & set(LATERALITIES):
            return sides
        if "U" in values:
            return set()
    part = next(iter(parts_of(text(source.values, "BodyPartExamined"))), "")
    return {source.tables.spelling(part).laterality} - {""} if part else set()
