"""What goes to a FHIR server beside the ImagingStudy of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fhir.resources import get_fhir_model_class as r5_model
from fhir.resources.R4B import get_fhir_model_class as r4b_model
from pydantic import ValidationError

from intu_fhir.build.concepts import schemes_in
from intu_fhir.build.device import device_reference, devices
from intu_fhir.build.document import document_reference
from intu_fhir.build.dose import dose_observation, dose_template
from intu_fhir.build.measurements import is_measurement_report, measurement_observations
from intu_fhir.build.notes import Notes
from intu_fhir.build.observation import Facts
from intu_fhir.build.provenance import provenance
from intu_fhir.build.rejection import without_rejected
from intu_fhir.build.source import BuildContext, Source
from intu_fhir.build.structured_report import Report, is_report, read_report
from intu_fhir.build.walk import values_wrong
from intu_fhir.mappings import Mapping as StudyMapping
from intu_fhir.mappings import Release
from intu_fhir.model.companion import (
    DEVICE,
    DOCUMENT,
    DOSE,
    MEASUREMENTS,
    PROVENANCE,
    Companion,
)
from intu_fhir.model.finding import Finding
from intu_fhir.model.study import Instance, Series, Study
from intu_fhir.model.values import Values

ReadDocument: TypeAlias = Callable[[Instance, Sequence[str]], Values]
"""Returns all raw values of an instance by keyword, sequences included; the AE titles that sent
the study say how its text is to be read."""

MAX_RESULTS = 5_000
"""Observations of one study; of reports beyond them nothing is made, and a finding says so."""

_NOT_VALID = {DOCUMENT: ("document_not_valid", "study")}
_MODELS = {"r4": r4b_model, "r5": r5_model}


@dataclass(frozen=True, slots=True)
class BuiltCompanions:
    """Resources beside an ImagingStudy, and what was noticed while they were built."""

    companions: tuple[Companion, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class CompanionBuilder:
    """Builds what the destinations of a study ask for beside it.

    Args:
        program_version: named in Provenance.
    """

    read_document: ReadDocument
    program_version: str

    def build(
        self,
        study: Study,
        resource: Mapping[str, Any],
        kinds: frozenset[str],
        mapping: StudyMapping,
        release: Release,
        context: BuildContext,
    ) -> BuiltCompanions:
        """Return the companions of the given kinds; no report makes it fail.

        Args:
            resource: the ImagingStudy as built.

        Raises:
            TransientError: the file of a report cannot be read now.
        """
        notes = Notes()
        kept = without_rejected(study, Notes()).study
        found_devices = devices(kept, release)
        made: list[Companion] = list(found_devices) if DEVICE in kinds else []
        facts = Facts(kept, resource, _by_series(found_devices) if DEVICE in kinds else {})
        if kinds & {DOSE, MEASUREMENTS}:
            made += self._of_reports(facts, kinds, mapping, context, notes)
        if PROVENANCE in kinds:
            made.append(provenance(kept, mapping.version, self.program_version))
        if DOCUMENT in kinds:
            made.append(document_reference(kept.uid, resource, release))
        valid = [one for one in made if _is_valid(one, release, notes)]
        return BuiltCompanions(_each_once(_whole(valid), notes), notes.findings)

    def _of_reports(
        self,
        facts: Facts,
        kinds: frozenset[str],
        mapping: StudyMapping,
        context: BuildContext,
        notes: Notes,
    ) -> Iterator[Companion]:
        found = list(self._reports(facts.study, mapping, context, notes))
        superseded = {uid for report, _, _ in found for uid in report.predecessors}
        left = MAX_RESULTS
        for report, series, source in found:
            if report.uid in superseded:
                source.note("report_superseded", "PredecessorDocumentsSequence")
                continue
            made = _of_report(report, series, source, facts, kinds)
            if len(made) > left:
                source.note("report_too_large", "ContentSequence")
                continue
            left -= len(made)
            yield from made

    def _reports(
        self, study: Study, mapping: StudyMapping, context: BuildContext, notes: Notes
    ) -> Iterator[tuple[Report, Series, Source]]:
        for series in study.series:
            for instance in sorted(series.instances, key=lambda one: one.uid):
                if is_report(instance.sop_class_uid):
                    values = self.read_document(instance, study.calling_ae_titles)
                    schemes = schemes_in([values])
                    source = Source(
                        "instance",
                        study,
                        mapping.tables,
                        context,
                        notes,
                        series=series,
                        schemes=schemes,
                    )
                    source.at(instance)
                    report = read_report(source, values)
                    if report is not None:
                        yield report, series, source


def _of_report(
    report: Report, series: Series, source: Source, facts: Facts, kinds: frozenset[str]
) -> list[Companion]:
    template = dose_template(report)
    if template and DOSE in kinds:
        made = dose_observation(report, template, series.uid, facts, source)
        return [made] if made else []
    if is_measurement_report(report) and MEASUREMENTS in kinds:
        return measurement_observations(report, series.uid, facts, source)
    return []


def _by_series(found: list[Companion]) -> dict[str, dict[str, Any]]:
    return {uid: device_reference(one) for one in found for uid in one.series}


def _is_valid(companion: Companion, release: Release, notes: Notes) -> bool:
    """Judge a resource by the schema of its release; a Provenance still lacks its target."""
    resource = companion.resource
    if companion.kind == PROVENANCE:
        resource = {**resource, "target": [{}], "recorded": "2024-01-01T00:00:00Z"}
    try:
        _MODELS[release](companion.identity.resource_type).model_validate(resource)
    except ValidationError:
        wrong = True
    else:
        wrong = next(values_wrong(companion.resource), None) is not None
    if wrong:
        code, level = _NOT_VALID.get(companion.kind, ("report_not_valid", "instance"))
        notes.add(code, level, companion.source_uid, companion.kind)
    return not wrong


def _whole(companions: list[Companion]) -> list[Companion]:
    """Leave members out of a group whose resources are not sent."""
    urns = {one.identity.urn for one in companions}
    for one in companions:
        members = one.resource.get("hasMember")
        if members:
            one.resource["hasMember"] = [m for m in members if m["reference"] in urns]
            if not one.resource["hasMember"]:
                del one.resource["hasMember"]
    return companions


def _each_once(companions: list[Companion], notes: Notes) -> tuple[Companion, ...]:
    """Return each identity once: two reports that claim one Observation UID contradict."""
    kept: dict[Any, Companion] = {}
    for one in companions:
        if one.identity in kept:
            notes.add("repeated_uid", "instance", one.source_uid, "ObservationUID")
        kept.setdefault(one.identity, one)
    return tuple(kept.values())
