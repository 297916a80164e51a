"""Orders and other numbers of a study (FHIR ImagingStudy.basedOn, identifier)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from intu_fhir.build.identifiers import (
    MAX_SHORT_STRING,
    identifier,
    issuers_in,
    rules_for,
    system_of,
)
from intu_fhir.build.source import Convert, Source, value_at
from intu_fhir.mappings import rules
from intu_fhir.model.values import Values, items


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
