"""A study becomes an ImagingStudy of FHIR R4 or R5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

from intu_fhir.build.concepts import schemes_in
from intu_fhir.build.converters import make_converter
from intu_fhir.build.notes import Notes
from intu_fhir.build.rejection import without_rejected
from intu_fhir.build.source import BuildContext, Convert, ImageService, Source
from intu_fhir.mappings import Mapping, Release
from intu_fhir.mappings.load import elements_of
from intu_fhir.mappings.rules import Rule
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.finding import INSTANCES_LEFT_OUT, Finding, Severity
from intu_fhir.model.study import Instance, Study

__all__ = ["BuildContext", "Built", "ImageService", "build_imaging_study"]

Filler: TypeAlias = tuple[str, bool, tuple[Convert, ...]]
"""Name of an element, whether it repeats, and what fills it."""


@dataclass(frozen=True, slots=True)
class Built:
    """An ImagingStudy as plain JSON, and what was noticed while it was built."""

    resource: dict[str, Any]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Program:
    """A mapping compiled for one release.

    Args:
        instance: rules with the SOP classes they are for; what is left of them for one SOP class
            is kept in ``by_class``.
    """

    study: tuple[Filler, ...]
    series: tuple[Filler, ...]
    instance: tuple[tuple[str, bool, tuple[tuple[Rule, Convert], ...]], ...]
    by_class: dict[str, tuple[Filler, ...]] = field(default_factory=dict)

    def for_instances(self, sop_class_uid: str) -> tuple[Filler, ...]:
        """Return what fills an instance of a SOP class."""
        fillers = self.by_class.get(sop_class_uid)
        if fillers is None:
            fillers = tuple(_only(sop_class_uid, self.instance))
            self.by_class[sop_class_uid] = fillers
        return fillers


def _only(sop_class_uid: str, elements: Sequence[Any]) -> list[Filler]:
    made = []
    for name, many, pairs in elements:
        converts = tuple(convert for rule, convert in pairs if _is_for(rule, sop_class_uid))
        if converts:
            made.append((name, many, converts))
    return made


def _is_for(rule: Rule, sop_class_uid: str) -> bool:
    return not rule.sop_classes or any(
        sop_class_uid == one or (one.endswith(".") and sop_class_uid.startswith(one))
        for one in rule.sop_classes
    )


@lru_cache(maxsize=64)
def _compile(mapping: Mapping, release: Release) -> _Program:
    levels = {
        level: [
            (
                name,
                element.many,
                tuple(
                    (rule, make_converter(rule, element.types[release], mapping, many=element.many))
                    for rule in rules
                ),
            )
            for name, element, rules in elements_of(mapping.rules[level], level, release)
        ]
        for level in ("study", "series", "instance")
    }
    study, series = (
        tuple(
            (name, many, tuple(convert for _, convert in pairs))
            for name, many, pairs in levels[level]
        )
        for level in ("study", "series")
    )
    return _Program(study, series, tuple(levels["instance"]))


def build_imaging_study(
    study: Study, mapping: Mapping, release: Release, context: BuildContext
) -> Built:
    """Return the ImagingStudy of a study; nothing in a header makes it fail.

    What cannot be converted is left out and noted. The same study, mapping and context give the
    same resource, whatever order its instances came in.
    """
    notes = Notes()
    kept = without_rejected(study, notes)
    study = kept.study
    if kept.expired:
        context = replace(context, image_service=None)
    program = _compile(mapping, release)
    schemes = schemes_in(group.values for series in study.series for group in series.groups)
    source = Source("study", study, mapping.tables, context, notes, schemes=schemes)
    source.status = kept.status
    resource: dict[str, Any] = {"resourceType": "ImagingStudy", **_fill(program.study, source)}
    listed = study.number_of_instances <= context.max_instances
    series = [
        _build_series(
            program,
            Source("series", study, mapping.tables, context, notes, series=one, schemes=schemes),
            one.instances if listed else (),
        )
        for one in study.series
    ]
    if series:
        resource["series"] = series
    findings = _within_size(resource, study, context, notes, listed=listed)
    return Built(resource, (*notes.findings, *findings))


def _fill(fillers: Sequence[Filler], source: Source) -> dict[str, Any]:
    """Return the elements that have a value."""
    made: dict[str, Any] = {}
    for name, many, converts in fillers:
        if many:
            values: list[Any] = []
            for value in (value for convert in converts for value in convert(source)):
                # Two rules may find the same, such as who both operated and performed.
                if len(converts) == 1 or value not in values:
                    values.append(value)
            if values:
                made[name] = values
        else:
            for convert in converts:
                found = convert(source)
                if found:
                    made[name] = found[0]
                    break
    return made


def _build_series(
    program: _Program, source: Source, instances: Sequence[Instance]
) -> dict[str, Any]:
    made = _fill(program.series, source)
    if instances:
        source.level = "instance"
        listed = []
        for instance in instances:
            source.at(instance)
            listed.append(_fill(program.for_instances(instance.sop_class_uid), source))
        made["instance"] = listed
    return made


def _within_size(
    resource: dict[str, Any], study: Study, context: BuildContext, notes: Notes, *, listed: bool
) -> list[Finding]:
    """Leave instances out of a resource that is too large; counts stay complete."""
    if listed and len(canonical_json(resource)) > context.max_body_bytes:
        for series in resource.get("series", ()):
            series.pop("instance", None)
        listed = False
    if listed:
        return []
    notes.add(INSTANCES_LEFT_OUT, "study", study.uid, "SOPInstanceUID")
    size = len(canonical_json(resource))
    if size <= context.max_body_bytes:
        return []
    return [
        Finding(
            Severity.ERROR,
            "S17",
            f"{size} bytes without instances, more than the {context.max_body_bytes} that "
            "max_body_bytes allows",
            "resource",
            study.uid,
        )
    ]
