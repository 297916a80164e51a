"""Values of content items as FHIR datatypes (PS3.3 C.17.3, C.18)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from intu_fhir.build.concepts import Concept, concept_of
from intu_fhir.build.datatypes import clean_text
from intu_fhir.build.names import name_groups
from intu_fhir.build.source import Source
from intu_fhir.build.structured_report import ContentItem, Report
from intu_fhir.build.times import TimeRules, date_time, split_date_time
from intu_fhir.model.values import items, text

UCUM = "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
MAX_TEXT = 10_000

_DECIMAL = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[Ee][+-]?\d{1,2})?", re.ASCII)
_REASONS: Mapping[str, str] = {
    "114000": "not-a-number",
    "114001": "negative-infinity",
    "114002": "positive-infinity",
    "114007": "not-performed",
    "114010": "unknown",
    "114011": "unknown",
}
"""Why there is no number: PS3.16 CID 42 as data-absent-reason; all others are errors."""


def number_of(item: ContentItem, source: Source) -> tuple[Decimal, Concept | None] | None:
    """Return value and unit of a NUM item (PS3.3 C.18.1), or None where it has no value.

    Zero is a value; digits stay as the report has them.
    """
    for measured in items(item.values, "MeasuredValueSequence"):
        raw = text(measured, "NumericValue").partition("\\")[0].strip()
        if not raw:
            continue
        if not _DECIMAL.fullmatch(raw):
            source.note("invalid_decimal", "NumericValue")
            continue
        units = items(measured, "MeasurementUnitsCodeSequence")
        unit = concept_of(source, units[0], "MeasurementUnitsCodeSequence") if units else None
        return Decimal(raw), unit
    return None


def quantity(value: Decimal, unit: Concept | None) -> dict[str, Any]:
    """Return a Quantity; only units of UCUM have a code, all others are words."""
    made: dict[str, Any] = {"value": value}
    if unit is None:
        return made
    ucum = next((c for c in unit.codings if c["system"] == UCUM), None)
    shown = (ucum or next(iter(unit.codings), {})).get("display", "") or unit.text
    if ucum:
        return made | {"unit": shown or ucum["code"], "system": UCUM, "code": ucum["code"]}
    return made | ({"unit": shown} if shown else {})


def absent_reason(item: ContentItem) -> dict[str, Any]:
    """Return why a NUM item has no value (Numeric Value Qualifier, 0040,A301)."""
    codes = items(item.values, "NumericValueQualifierCodeSequence")
    qualifier = text(codes[0], "CodeValue") if codes else ""
    reason = _REASONS.get(qualifier, "error" if qualifier else "unknown")
    return {"coding": [{"system": ABSENT, "code": reason}]}


def code_of(item: ContentItem | None, source: Source) -> Concept | None:
    """Return the value of a CODE item."""
    codes = items(item.values, "ConceptCodeSequence") if item else []
    return concept_of(source, codes[0], "ConceptCodeSequence") if codes else None


def text_of(item: ContentItem | None) -> str:
    """Return the words of a TEXT item, or nothing where they cannot be decoded."""
    return (clean_text(text(item.values, "TextValue")) or "")[:MAX_TEXT] if item else ""


def name_of(item: ContentItem | None) -> str:
    """Return the person of a PNAME item as people write the name."""
    groups = name_groups(text(item.values, "PersonName")) if item else []
    return groups[0].text if groups else ""


def moment_of(raw: str, report: Report, source: Source, attribute: str) -> str:
    """Return a DT value as dateTime; the report's own zone counts, else the site's."""
    if not raw:
        return ""
    date_raw, time_raw, zone = split_date_time(raw.partition("\\")[0])
    zone = zone or text(report.values, "TimezoneOffsetFromUTC")
    rules = TimeRules(source.context.zone, source.context.today)
    found = date_time(date_raw, time_raw, zone, rules)
    for problem in found.problems:
        source.note(problem, attribute)
    return found.value


def words_of(concept: Concept | None) -> str:
    """Return a concept in words."""
    if concept is None:
        return ""
    return next((c["display"] for c in concept.codings if c.get("display")), concept.text)
