"""Places, encounters, specimens and endpoints as references (FHIR Reference)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from intu_fhir.build.identifiers import identifier, issuers_in, rules_for, system_of
from intu_fhir.build.source import Convert, Source, value_at
from intu_fhir.mappings import rules
from intu_fhir.model.values import Values, items
from intu_fhir.settings.schema import IdentifierSystem


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
    system = system_of(source, rules_for(source, rule.system), issuers, attribute=keyword)
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
