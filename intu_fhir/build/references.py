"""Patient, orders, persons and places as references (FHIR Reference)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from intu_fhir.build.concepts import scheme_of
from intu_fhir.build.datatypes import clean_code, clean_text, first_value, parts_of
from intu_fhir.build.identifiers import (
    MAX_SHORT_STRING,
    identifier,
    issuers_in,
    rules_for,
    system_of,
)
from intu_fhir.build.names import PersonName, name_groups, persons
from intu_fhir.build.source import Source
from intu_fhir.mappings import rules
from intu_fhir.model.values import Values, items, text
from intu_fhir.settings.schema import IdentifierSystem

Convert: TypeAlias = Callable[[Source], Sequence[Any]]
"""Gives the values of an element: none, one, or as many as it repeats."""

DATA_ABSENT_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_FUNCTIONS = {
    "PRF": "performer",
    "SPRF": "secondary performer",
    "CON": "consultant",
    "VRF": "verifier",
    "REF": "referrer",
}
_HUMAN = frozenset({"HOMO SAPIENS", "HUMAN", "337915000", "L-85B00"})


def value_at(source: Source, values: Values, keyword: str) -> str:
    """Return the clean first value of a single-valued attribute, noting what was wrong."""
    raw, more = first_value(values, keyword)
    if more:
        source.note("several_values", keyword)
    cleaned = clean_text(raw)
    if cleaned is None:
        source.note("damaged_text", keyword)
    return cleaned or ""


# --- the patient


def make_patient(rule: rules.Patient) -> Convert:
    """Make the converter of ``subject``."""
    exact = frozenset(one.upper() for one in rule.placeholders if not one.endswith("*"))
    begins = tuple(one[:-1].upper() for one in rule.placeholders if one.endswith("*"))

    def convert(source: Source) -> Sequence[Any]:
        values = source.study.values
        _note_kind(source, values)
        subject: dict[str, Any] = {}
        patient_id = value_at(source, values, "PatientID")
        folded = patient_id.upper()
        if patient_id and folded not in exact and not (begins and folded.startswith(begins)):
            subject = {"type": "Patient", "identifier": patient_identifier(source, patient_id)}
        else:
            source.note("subject_unknown", "PatientID")
            subject["extension"] = [{"url": DATA_ABSENT_REASON, "valueCode": "unknown"}]
        if rule.show_name and (name := display_name(text(values, "PatientName"))):
            subject["display"] = name
        return (subject,)

    return convert


def patient_identifier(source: Source, patient_id: str) -> dict[str, Any]:
    """Return the Patient ID: MR, or PI where its issuer is not the site's own (HL7 table 0203)."""
    values = source.study.values
    site = rules_for(source, "patient")
    system = system_of(
        source,
        site,
        items(values, "IssuerOfPatientIDQualifiersSequence"),
        text(values, "IssuerOfPatientID"),
        attribute="PatientID",
    )
    foreign = system is not None and site.default is not None and system != site.default
    return identifier(patient_id, system, "PI" if foreign else "MR")


def _note_kind(source: Source, values: Values) -> None:
    """Note what may not be a patient."""
    if text(values, "QualityControlSubject").upper() == "YES":
        source.note("subject_is_phantom", "QualityControlSubject")
    if text(values, "PatientIdentityRemoved").upper() == "YES":
        source.note("subject_anonymous", "PatientIdentityRemoved")
    species = [text(item, "CodeValue") for item in items(values, "PatientSpeciesCodeSequence")]
    named = {one.upper() for one in (*species, text(values, "PatientSpeciesDescription")) if one}
    if named and not named & _HUMAN:
        source.note("subject_is_animal", "PatientSpeciesDescription")


def display_name(raw: str) -> str:
    """Return the first non-empty group of a name as people write it."""
    groups = name_groups(raw)
    return groups[0].text if groups else ""


# --- orders


def make_order(rule: rules.Order) -> Convert:
    """Make the converter of ``basedOn``: one reference for each distinct order."""

    def convert(source: Source) -> Sequence[Any]:
        found: dict[tuple[str, str | None], dict[str, Any]] = {}
        for values in _requests(source, rule):
            for one in _order_identifiers(source, rule, values):
                found.setdefault((one["value"], one.get("system")), one)
        return [
            {"type": "ServiceRequest", "identifier": one}
            for (value, system), one in found.items()
            if system or not _known_elsewhere(value, found)
        ]

    return convert


def _known_elsewhere(value: str, found: Iterable[tuple[str, str | None]]) -> bool:
    """Say whether the same number stands there with its system."""
    return any(value == other and system for other, system in found)


def _requests(source: Source, rule: rules.Order) -> Iterator[Values]:
    """Give everything that may name an order: the merged header, each header, their requests."""
    yield source.values
    for header in source.headers():
        yield header
        for sequence in rule.requests:
            yield from items(header, sequence)


def _order_identifiers(
    source: Source, rule: rules.Order, values: Values
) -> Iterator[dict[str, Any]]:
    """Give the accession number of a request, or its placer and filler order numbers."""
    accessions = list(_numbers(source, rule, values))
    yield from accessions
    if not accessions:
        for keyword, kind in _ORDER_NUMBERS:
            if number := value_at(source, values, keyword):
                yield identifier(number, None, kind)


_ORDER_NUMBERS = (
    ("PlacerOrderNumberImagingServiceRequest", "PLAC"),
    ("FillerOrderNumberImagingServiceRequest", "FILL"),
)


def _numbers(source: Source, rule: rules.Order, values: Values) -> Iterator[dict[str, Any]]:
    for keyword in rule.source:
        if number := value_at(source, values, keyword):
            issuers = issuers_in(values, rule.issuer)
            site = rules_for(source, "accession")
            system = system_of(source, site, issuers, attribute=keyword)
            yield identifier(number, system, "ACSN")


def make_identifier(rule: rules.Identifier) -> Convert:
    """Make the converter of an identifier: one for each distinct value and issuer."""

    def convert(source: Source) -> Sequence[Any]:
        site = rules_for(source, rule.system)
        found: dict[tuple[str, str | None], dict[str, Any]] = {}
        for values in (source.values, *source.headers()):
            for keyword in rule.source:
                if value := value_at(source, values, keyword):
                    _note_length(source, keyword, value)
                    issuers = issuers_in(values, rule.issuer)
                    system = system_of(source, site, issuers, attribute=keyword)
                    found.setdefault((value, system), identifier(value, system, rule.type))
        return [
            one
            for (value, system), one in found.items()
            if system or not _known_elsewhere(value, found)
        ]

    return convert


def _note_length(source: Source, keyword: str, value: str) -> None:
    if keyword == "AccessionNumber" and len(value) > MAX_SHORT_STRING:
        source.note("value_too_long", keyword)


# --- persons


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
    found: dict[str, dict[str, Any]] = {}
    for values in (source.values, *(source.headers() if many else ())):
        for keyword in keywords:
            for made in _named(source, values, keyword, identification):
                if made["display"].upper() not in omitted:
                    known = found.setdefault(made["display"], made)
                    known.update(made)
    return list(found.values())


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


# --- anything else


def make_reference(rule: rules.ReferenceTo) -> Convert:
    """Make the converter of a reference by identifier or by name."""

    def convert(source: Source) -> Sequence[Any]:
        for keyword in rule.source:
            for values in (source.values, *source.headers()):
                if value := value_at(source, values, keyword):
                    return (_logical(source, rule, values, keyword, value),)
        return ()

    return convert


def _logical(
    source: Source, rule: rules.ReferenceTo, values: Values, keyword: str, value: str
) -> dict[str, Any]:
    if rule.by == "display":
        return {"type": rule.resource, "display": value}
    issuers = issuers_in(values, rule.issuer)
    system = system_of(source, IdentifierSystem(), issuers, attribute=keyword)
    return {"type": rule.resource, "identifier": identifier(value, system, rule.type)}


def make_specimen(rule: rules.Specimen) -> Convert:
    """Make the converter of ``series.specimen``: the specimens, else their container."""

    def convert(source: Source) -> Sequence[Any]:
        found = _specimens(
            source,
            source.every_item("SpecimenDescriptionSequence"),
            "SpecimenIdentifier",
            "IssuerOfTheSpecimenIdentifierSequence",
        )
        return found or _specimens(
            source,
            [source.values, *source.headers()],
            "ContainerIdentifier",
            "IssuerOfTheContainerIdentifierSequence",
        )

    return convert


def _specimens(
    source: Source, holders: Iterable[Values], keyword: str, issuer: str
) -> list[dict[str, Any]]:
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for values in holders:
        if value := value_at(source, values, keyword):
            issuers = items(values, issuer)
            system = system_of(source, IdentifierSystem(), issuers, attribute=keyword)
            found.setdefault((value, system), identifier(value, system, ""))
    return [{"type": "Specimen", "identifier": one} for one in found.values()]


def make_endpoint(rule: rules.Endpoint) -> Convert:
    """Make the converter of ``endpoint``: the configured image service, if there is one."""

    def convert(source: Source) -> Sequence[Any]:
        service = source.context.image_service
        if service is None:
            return ()
        made: dict[str, Any] = {"type": "Endpoint"}
        if service.reference:
            made["reference"] = service.reference
        if service.value:
            made["identifier"] = identifier(service.value, service.system, "")
        return (made,)

    return convert
