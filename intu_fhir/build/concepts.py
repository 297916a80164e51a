"""Coded terms of a header as Coding, CodeableConcept or CodeableReference (PS3.3 8, FHIR)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from intu_fhir.build.datatypes import clean_code, clean_text
from intu_fhir.build.source import Source
from intu_fhir.mappings.tables import CodingScheme
from intu_fhir.model.uid import is_conformant_uid
from intu_fhir.model.values import Values, items, text

DCM = "http://dicom.nema.org/resources/ontology/DCM"
SCT = "http://snomed.info/sct"
NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
URI = "urn:ietf:rfc:3986"
MAX_TEXT = 1_024
_URL = re.compile(r"(?:https?://|urn:)[!-~]+")


def coding(system: str, code: str, display: str = "") -> dict[str, str]:
    """Return a Coding; a code never goes without its system."""
    made = {"system": system, "code": code}
    return made | {"display": display} if display else made


@dataclass
class Concept:
    """A meaning: codes for it, or text where there are none."""

    codings: list[dict[str, str]] = field(default_factory=list)
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.codings or self.text)

    def shaped(self, kind: str) -> dict[str, Any]:
        """Return the concept as the FHIR type ``kind``."""
        if kind == "Coding":
            return self.codings[0] if self.codings else {"display": self.text}
        concept: dict[str, Any] = {}
        if self.codings:
            concept["coding"] = self.codings
        if self.text:
            concept["text"] = self.text
        return {"concept": concept} if kind == "CodeableReference" else concept


def concept_of(source: Source, item: Values, attribute: str) -> Concept | None:
    """Return the meaning of one item of a code sequence (PS3.3 8.8), or None.

    Equivalent codes of the item stand beside its own.
    """
    codings = []
    for one in (item, *items(item, "EquivalentCodeSequence")):
        made = _coding(source, one, attribute)
        if made is not None and made not in codings:
            codings.append(made)
    meaning = (clean_text(text(item, "CodeMeaning")) or "")[:MAX_TEXT]
    if not codings and not meaning:
        source.note("incomplete_code", attribute)
        return None
    return Concept(codings, "" if codings else meaning)


def _coding(source: Source, item: Values, attribute: str) -> dict[str, str] | None:
    display = (clean_text(text(item, "CodeMeaning")) or "")[:MAX_TEXT]
    if urn := clean_code(text(item, "URNCodeValue")):
        return coding(URI, urn, display)
    code = clean_code(text(item, "CodeValue") or text(item, "LongCodeValue"))
    if not code:
        return None
    scheme = scheme_of(source, text(item, "CodingSchemeDesignator"))
    if scheme is None:
        source.note("unknown_coding_scheme", attribute)
        return None
    known = scheme.code(code)
    if not known:
        source.note("untranslated_code", attribute)
        return None
    return coding(scheme.uri, known, display)


def scheme_of(source: Source, designator: str) -> CodingScheme | None:
    """Return what a Coding Scheme Designator (0008,0102) stands for, or None.

    The table comes first, then what the header itself says of its schemes (0008,0110).
    """
    return source.tables.coding_schemes.get(designator) or source.schemes.get(designator)


def schemes_in(headers: Iterable[Values]) -> dict[str, CodingScheme]:
    """Return the coding schemes that headers identify (Coding Scheme Identification Sequence).

    A designator that two makers use for schemes of their own, such as 99LOCAL, stands for none.
    """
    found: dict[str, set[str]] = {}
    for header in headers:
        for item in items(header, "CodingSchemeIdentificationSequence"):
            designator, uri = text(item, "CodingSchemeDesignator"), _scheme_uri(item)
            if designator and uri:
                found.setdefault(designator, set()).add(uri)
    return {key: CodingScheme(min(uris), "") for key, uris in found.items() if len(uris) == 1}


def _scheme_uri(item: Values) -> str:
    uid = text(item, "CodingSchemeUID")
    if is_conformant_uid(uid):
        return f"urn:oid:{uid}"
    urls = (text(one, "CodingSchemeURL") for one in items(item, "CodingSchemeResourcesSequence"))
    return next((url for url in map(clean_code, urls) if _URL.fullmatch(url)), "")


def distinct(concepts: Iterable[Concept | None]) -> list[Concept]:
    """Return each concept once, in order."""
    found: dict[tuple[Any, ...], Concept] = {}
    for concept in concepts:
        if concept:
            codes = tuple((c["system"], c["code"]) for c in concept.codings)
            found.setdefault((codes, concept.text), concept)
    return list(found.values())
