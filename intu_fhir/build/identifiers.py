"""Identifiers with the system of their issuer (PS3.3 10.14, FHIR Identifier)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from intu_fhir.build.concepts import DCM, coding
from intu_fhir.build.source import Source
from intu_fhir.model.uid import is_conformant_uid
from intu_fhir.model.values import Values, items, text
from intu_fhir.settings.schema import IdentifierSystem

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
DICOM_UID = "urn:dicom:uid"
MAX_SHORT_STRING = 16

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s|]+")


def study_uid_identifier(uid: str) -> dict[str, Any]:
    """Return the identifier by which a study is found at every server."""
    return {
        "use": "official",
        "type": {"coding": [coding(DCM, "110180", "Study Instance UID")]},
        "system": DICOM_UID,
        "value": f"urn:oid:{uid}",
    }


def identifier(value: str, system: str | None, kind: str) -> dict[str, Any]:
    """Return an identifier; ``kind`` is a code of HL7 table 0203."""
    made: dict[str, Any] = {}
    if kind:
        made["type"] = {"coding": [coding(V2_0203, kind)]}
    if system:
        made["system"] = system
    made["value"] = value
    return made


def universal_system(item: Values) -> str:
    """Return the system that an issuer item names by itself (HL7v2 HD macro), or ``""``."""
    value = text(item, "UniversalEntityID")
    kind = text(item, "UniversalEntityIDType").upper()
    if kind == "ISO":
        oid = value.removeprefix("urn:oid:")
        return f"urn:oid:{oid}" if "." in oid and is_conformant_uid(oid) else ""
    if kind == "UUID":
        uuid = value.removeprefix("urn:uuid:").lower()
        return f"urn:uuid:{uuid}" if _UUID.fullmatch(uuid) else ""
    return _as_uri(value) if kind in {"URI", "URL"} else ""


def _as_uri(value: str) -> str:
    """Return a value that is itself a system: an OID, or a URL with a host."""
    if "." in value and is_conformant_uid(value):
        return f"urn:oid:{value}"
    if not _URI.fullmatch(value):
        return ""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    return value if parts.netloc or parts.scheme == "urn" else ""


def issuer_names(item: Values) -> list[str]:
    """Return the names by which a site may know the issuer of an item."""
    names = (text(item, "UniversalEntityID"), text(item, "LocalNamespaceEntityID"))
    return [name for name in names if name]


def system_of(
    source: Source,
    rules: IdentifierSystem,
    issuers: Iterable[Values],
    issuer: str = "",
    *,
    attribute: str,
) -> str | None:
    """Return the system of an identifier; None where its issuer is not known.

    The site's table of issuers comes first, then what the header says by itself, then the site's
    tables of senders and institutions, then its default. Nothing is made up from an AE title or
    an institution's name.

    Args:
        issuers: items of the sequence that names the issuer.
        issuer: the issuer as plain text, such as Issuer of Patient ID.
    """
    issuers = list(issuers)
    names = [name for item in issuers for name in issuer_names(item)] + [issuer] * bool(issuer)
    for name in names:
        if name in rules.by_issuer:
            return rules.by_issuer[name]
    own = [universal_system(item) for item in issuers] + [_as_uri(issuer)] * bool(issuer)
    if found := next(filter(None, own), None):
        return found
    if names:
        source.note("issuer_unknown", attribute)
    return _of_sender(source, rules, attribute)


def _of_sender(source: Source, rules: IdentifierSystem, attribute: str) -> str | None:
    """Return what the site says of who sent the study, else its default."""
    senders = sorted(source.study.calling_ae_titles)
    systems = [
        rules.by_calling_ae_title[sender]
        for sender in senders
        if sender in rules.by_calling_ae_title
    ]
    if len(set(systems)) > 1:
        source.note("senders_disagree", attribute)
    system = systems[0] if systems else _of_institution(source, rules)
    if system is None:
        source.note("identifier_without_system", attribute)
    return system


def _of_institution(source: Source, rules: IdentifierSystem) -> str | None:
    """Return what the site's table says of the institution, else the default."""
    name = source.study.values.get("InstitutionName")
    known = rules.by_institution.get(name.strip()) if isinstance(name, str) else None
    return known or rules.default


def rules_for(source: Source, name: str) -> IdentifierSystem:
    """Return the site's systems of ``patient`` or ``accession``, or a fixed one."""
    if name == "patient":
        return source.context.identifiers.patient
    if name == "accession":
        return source.context.identifiers.accession
    return IdentifierSystem(default=name or None)


def issuers_in(values: Values, keyword: str) -> list[Values]:
    """Return the items that name an issuer, if the mapping names their sequence."""
    return items(values, keyword) if keyword else []
