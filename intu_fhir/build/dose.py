"""Radiation dose reports as one Observation each (PS3.16 TID 10001, 10011, 10021).

The components are those of the HL7 guide "Radiation Dose Summary". What a report does not say is
not computed, least of all a sum over studies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from intu_fhir.build import dose_units as units
from intu_fhir.build.concepts import DCM, SCT, Concept, coding
from intu_fhir.build.content_values import (
    absent_reason,
    code_of,
    moment_of,
    name_of,
    number_of,
    quantity,
    text_of,
    words_of,
)
from intu_fhir.build.observation import (
    IMAGING,
    Facts,
    concept,
    filled,
    identifier_of,
    named_device,
    uid_identity,
)
from intu_fhir.build.source import Source
from intu_fhir.build.structured_report import ContentItem, Report
from intu_fhir.build.times import earliest
from intu_fhir.model.companion import DOSE, Companion
from intu_fhir.model.values import text

LOINC = "http://loinc.org"
DOSE_CODE = coding(
    LOINC,
    "73569-6",
    "Radiation exposure and protection information [Description] Document Diagnostic imaging",
)
IDENTIFIER_TYPE = "http://hl7.org/fhir/uv/radiation-dose-summary/CodeSystem/dicom-identifier-type"
_XRAY_TITLE, _RADIOPHARMACEUTICAL_TITLE = "113701", "113500"


@dataclass(frozen=True, slots=True)
class DoseTemplate:
    """Where a template keeps its totals.

    Args:
        container: concept name of the content item that holds them.
        modifiers: what tells totals of one report apart: plane or side.
    """

    container: str
    start: str
    modifiers: tuple[tuple[str, str], ...] = ()


CT, PROJECTION, RADIOPHARMACEUTICAL = "10011", "10001", "10021"
TEMPLATES: Mapping[str, DoseTemplate] = {
    CT: DoseTemplate("113811", "113809"),
    PROJECTION: DoseTemplate("113702", "113809", (("113764", DCM), ("272741003", SCT))),
    RADIOPHARMACEUTICAL: DoseTemplate("113502", "123003"),
}

NUMBERS: Mapping[tuple[str, str], str] = {
    (DCM, "113812"): units.COUNT,
    (DCM, "113813"): units.LENGTH_PRODUCT,
    (DCM, "113814"): units.EFFECTIVE,
    (DCM, "113722"): units.AREA_PRODUCT,
    (DCM, "113725"): units.ABSORBED,
    (DCM, "113726"): units.AREA_PRODUCT,
    (DCM, "113728"): units.ABSORBED,
    (DCM, "113730"): units.SECONDS,
    (DCM, "113727"): units.AREA_PRODUCT,
    (DCM, "113729"): units.ABSORBED,
    (DCM, "113855"): units.SECONDS,
    (DCM, "113731"): units.COUNT,
    (DCM, "111637"): units.GLANDULAR,
    (DCM, "113507"): units.ACTIVITY,
    (DCM, "123005"): units.VOLUME,
}
"""Totals that are sent, and the unit they are sent in (PS3.16 TID 10003-10007, 10012, 10022)."""

CODES = frozenset({(SCT, "349358000"), (SCT, "89457008"), (SCT, "410675002")})
"""Radiopharmaceutical agent, radionuclide, route of administration (PS3.16 TID 10022)."""


def dose_template(report: Report) -> str:
    """Return which dose template a report follows, or nothing."""
    root = report.root
    if root.is_named(_RADIOPHARMACEUTICAL_TITLE):
        return RADIOPHARMACEUTICAL if report.template in {"", RADIOPHARMACEUTICAL} else ""
    if not root.is_named(_XRAY_TITLE):
        return ""
    if report.template:
        return report.template if report.template in {CT, PROJECTION} else ""
    return next((t for t in (CT, PROJECTION) if root.first(TEMPLATES[t].container)), "")


def dose_observation(
    report: Report, template: str, series_uid: str, facts: Facts, source: Source
) -> Companion | None:
    """Return the Observation of a dose report; None where it holds no total.

    Args:
        series_uid: series of the report, whose equipment is the irradiating device.
    """
    how = TEMPLATES[template]
    totals = [
        total
        for container in report.root.all(how.container)
        for total in _totals(container, how, source)
    ]
    if not any("dataAbsentReason" not in component for component in totals):
        source.note("report_without_values", "ContentSequence")
        return None
    identity = uid_identity(report.uid)
    kind = {"coding": [coding(IDENTIFIER_TYPE, "sop-instance-uid", "SOP Instance UID")]}
    resource = filled(
        resourceType="Observation",
        identifier=[{"type": kind, **identifier_of(identity)}],
        partOf=[facts.study_reference],
        status="final" if report.complete else "preliminary",
        category=[IMAGING],
        code={"coding": [DOSE_CODE]},
        subject=facts.subject,
        focus=[facts.study_reference],
        effectiveDateTime=_start(report, how, source) or facts.started,
        performer=_performers(report),
        valueString="; ".join(filter(None, map(_in_words, totals))),
        device=facts.devices.get(series_uid) or named_device(report),
        component=[*_procedure(report, source), *totals],
    )
    return Companion(DOSE, identity, resource, report.uid)


def _totals(container: ContentItem, how: DoseTemplate, source: Source) -> Iterator[dict[str, Any]]:
    """Give the totals of one container: each item once, whatever stands above it."""
    around = [_modifier(container, *named, source) for named in how.modifiers]
    for item in container.descend():
        named = next(((c["system"], c["code"]) for c in _codings(item)), ("", ""))
        if item.value_type == "NUM" and named in NUMBERS:
            own = [_modifier(item, *modifier, source) for modifier in how.modifiers]
            yield _number(item, NUMBERS[named], (*around, *own), source)
        elif item.value_type in {"CODE", "TEXT"} and named in CODES:
            yield from _term(item, source)


def _codings(item: ContentItem) -> list[dict[str, str]]:
    return item.name.codings if item.name else []


def _modifier(item: ContentItem, code: str, system: str, source: Source) -> str:
    return words_of(code_of(item.first(code, system), source))


def _number(
    item: ContentItem, target: str, modifiers: tuple[str, ...], source: Source
) -> dict[str, Any]:
    """Return a total; what tells it from another of the same code stands in its text."""
    code = concept(item.name) or {}
    told = list(dict.fromkeys(filter(None, modifiers)))
    if told:
        code = {**code, "text": ", ".join([words_of(item.name), *told])}
    found = number_of(item, source)
    if found is None:
        return {"code": code, "dataAbsentReason": absent_reason(item)}
    return {"code": code, "valueQuantity": quantity(*units.in_target(*found, target))}


def _term(item: ContentItem, source: Source) -> Iterator[dict[str, Any]]:
    value, words = concept(code_of(item, source)), text_of(item)
    if value or words:
        kind = {"valueCodeableConcept": value} if value else {"valueString": words}
        yield {"code": concept(item.name), **kind}


def _procedure(report: Report, source: Source) -> Iterator[dict[str, Any]]:
    """Give what was done, Procedure reported (121058)."""
    if value := concept(code_of(report.root.first("121058"), source)):
        name = Concept([coding(DCM, "121058", "Procedure reported")])
        yield {"code": concept(name), "valueCodeableConcept": value}


def _start(report: Report, how: DoseTemplate, source: Source) -> str:
    """Return when irradiation began: the earliest start in the report."""
    found = [
        moment
        for item in report.root.descend()
        if item.is_named(how.start)
        and (moment := moment_of(text(item.values, "DateTime"), report, source, "DateTime"))
    ]
    return earliest(found)


def _performers(report: Report) -> list[dict[str, Any]]:
    """Return who authorised the irradiation (113850)."""
    found = (name_of(item) for item in report.root.descend() if item.is_named("113850"))
    return [{"type": "Practitioner", "display": name} for name in dict.fromkeys(found) if name]


def _in_words(component: dict[str, Any]) -> str:
    """Return a total as a person reads it."""
    code = component["code"]
    name = code.get("text") or next((c.get("display", "") for c in code.get("coding", ())), "")
    if measured := component.get("valueQuantity"):
        unit = measured.get("code") or measured.get("unit", "")
        return f"{name} {format(measured['value'], 'f')} {unit}".strip()
    value = component.get("valueCodeableConcept", {})
    shown = next((c.get("display", "") for c in value.get("coding", ())), "") or value.get("text")
    shown = shown or component.get("valueString", "")
    return f"{name} {shown}" if shown else ""
