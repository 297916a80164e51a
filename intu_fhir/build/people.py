"""Referrer, interpreters and performers as references (FHIR Practitioner)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from intu_fhir.build.concepts import scheme_of
from intu_fhir.build.datatypes import clean_code, parts_of
from intu_fhir.build.identifiers import issuers_in
from intu_fhir.build.names import PersonName, persons
from intu_fhir.build.source import Convert, Source
from intu_fhir.mappings import rules
from intu_fhir.model.values import Values, items, text

PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_FUNCTIONS = {
    "PRF": "performer",
    "SPRF": "secondary performer",
    "CON": "consultant",
    "VRF": "verifier",
    "REF": "referrer",
}


def make_person(rule: rules.Person, *, many: bool) -> Convert:
    """Make the converter of references to practitioners."""
    omitted = frozenset(name.upper() for name in rule.omit)

    def convert(source: Source) -> Sequence[Any]:
        found = practitioners(source, rule.source, rule.identification, omitted, many=many)
        return found if many else found[:1]

    return convert


def make_performer(rule: rules.Performer) -> Convert:
    """Make the converter of ``series.performer``: one for each distinct person."""
    omitted = frozenset(name.upper() for name in rule.omit)
    code = {"system": PARTICIPATION, "code": rule.function, "display": _FUNCTIONS[rule.function]}

    def convert(source: Source) -> Sequence[Any]:
        found = practitioners(source, rule.source, rule.identification, omitted, many=True)
        return [{"function": {"coding": [code]}, "actor": actor} for actor in found]

    return convert


def practitioners(
    source: Source,
    keywords: Sequence[str],
    identification: str,
    omitted: frozenset[str],
    *,
    many: bool,
) -> list[dict[str, Any]]:
    """Return references to the distinct persons that attributes name.

    Args:
        identification: sequence with an item for each person, in the same order.
        many: look into every header, not only at the merged values.
    """
    found: list[dict[str, Any]] = []
    for values in (source.values, *(source.headers() if many else ())):
        for keyword in keywords:
            for made in _named(source, values, keyword, identification):
                if made["display"].upper() not in omitted:
                    _add(found, made)
    return found


def _add(found: list[dict[str, Any]], made: dict[str, Any]) -> None:
    """Add a person who is not there: a name alone may be anybody's who has it, a number is not."""
    same = [known for known in found if known["display"] == made["display"]]
    unnumbered = next((known for known in same if "identifier" not in known), None)
    if unnumbered is not None:
        unnumbered.update(made)
    elif not same or ("identifier" in made and made not in same):
        found.append(made)


def _named(
    source: Source, values: Values, keyword: str, identification: str
) -> Iterator[dict[str, Any]]:
    raw = text(values, keyword)
    if not raw:
        return
    people = persons(raw)
    if len(people) < len([one for one in parts_of(raw) if one.strip("^= ")]):
        source.note("damaged_text", keyword)
    identified = issuers_in(values, identification)
    for at, groups in enumerate(people):
        item = identified[at] if len(identified) == len(people) else {}
        yield _practitioner(source, groups, item)


def _practitioner(source: Source, groups: tuple[PersonName, ...], item: Values) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "Practitioner"}
    for code in items(item, "PersonIdentificationCodeSequence"):
        value = clean_code(text(code, "CodeValue") or text(code, "LongCodeValue"))
        scheme = scheme_of(source, text(code, "CodingSchemeDesignator"))
        if value and scheme is not None and "identifier" not in made:
            made["identifier"] = {"system": scheme.uri, "value": value}
    made["display"] = groups[0].text
    return made
