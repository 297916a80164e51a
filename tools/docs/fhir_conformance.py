"""``docs/conformance/fhir-conformance-statement.md``: what this client asks of a FHIR server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import orjson

from intu_fhir.mappings.elements import Release
from intu_fhir.settings.schema import Auth, FhirDestination
from tools.docs.markdown import code, page, table

READ, SEARCH, CREATE, UPDATE = "read", "search-type", "create", "update"
TRANSACTION = "transaction"


@dataclass(frozen=True)
class Used:
    """What is done with one type of resource.

    Args:
        interactions: at most these; which of them depends on what the server offers.
        recognised_by: what one and the same resource is found by.
        setting: where it is asked for; empty = always.
    """

    interactions: tuple[str, ...]
    recognised_by: str
    why: str
    setting: str = ""


_WRITTEN = (READ, SEARCH, CREATE, UPDATE)
RESOURCES: Mapping[str, Used] = {
    "ImagingStudy": Used(
        _WRITTEN,
        "identifier `urn:dicom:uid` with the Study Instance UID",
        "one for each study, updated when the study changes",
    ),
    "DocumentReference": Used(
        _WRITTEN,
        "the identifier of the ImagingStudy",
        "in place of the ImagingStudy where a server takes none; marked `superseded` once it does",
        "`publish.document_reference`",
    ),
    "Patient": Used(
        (READ, SEARCH, CREATE),
        "identifier of the site's system for Patient IDs",
        "found and compared, never changed; created with `create` alone",
        "`subject.strategy`: `search` or `create`",
    ),
    "Endpoint": Used(
        _WRITTEN,
        "identifier `urn:ietf:rfc:3986` with the address of the service",
        "where images can be had by DICOMweb; one for all studies",
        "`publish.endpoint`",
    ),
    "Device": Used(
        _WRITTEN,
        "Device UID, else an identifier made of manufacturer, model and serial number",
        "the equipment of a series; one for all its studies",
        "`publish.device`",
    ),
    "Observation": Used(
        _WRITTEN,
        "the UID of the report or of the measurement group, else an identifier made of both",
        "radiation dose and measurements of structured reports; marked `entered-in-error` where a "
        "later report leaves them out, never deleted",
        "`publish.dose`, `publish.measurements`",
    ),
    "Provenance": Used(
        (CREATE, UPDATE),
        "nothing at the server; the staging database knows what was sent",
        "of which instances, by which mapping and program, for each version",
        "`publish.provenance`",
    ),
}

_INTRODUCTION = """\
What intu-fhir does at a FHIR server, so that its administrator can allow exactly that. It is a
client: it asks and writes, and offers no FHIR interface of its own. Which resources look how says
the [mapping](../reference/mapping.md)."""

_BASICS = """\
* Releases: R4 (4.0.1, also taken by servers of 4.3.0) and R5 (5.0.0), by `release` of the
  destination.
* Format: `application/fhir+json`, UTF-8. No XML.
* HTTP/1.1, TLS 1.2 and later. Certificates are checked against the system's authorities or
  `tls.ca_file`; a client certificate is sent where one is configured.
* Redirects are never followed. A token or password goes to the server's own origin and to its
  token endpoint alone.
* Every exchange ends after `timeout_seconds`; answers are read up to 8 MiB."""

_WAYS = """\
The server's `/metadata` is read once an hour. A server that refuses to show it, or lists no
resources, is asked for a conditional update.

| Known here | The server offers | Sent |
| --- | --- | --- |
| id and version | anything | `PUT [type]/[id]` with `If-Match`, or nothing if equal |
| no id | conditional create | search, then `POST [type]` with `If-None-Exist` |
| no id | conditional update alone | `PUT [type]?identifier=[system]\\|[value]` |
| no id | update as create | search, then `PUT [type]/[id]`, the id made of the study's UID |
| no id | create alone | search, then `POST [type]` |
| several resources | transactions | `POST [base]`, a `transaction` Bundle of at most 400 entries |
| several resources | no transactions | one after the other, what others refer to first |

A success is believed once the server shows the resource with what was sent; an answer of 200 or 204
after which it shows its old version is tried again. A conditional create that met what another
writer had created is followed by an update of that. After a plain create the server is searched
again, so that a double does not stay unnoticed.

An answer that does not come leaves open whether the server acted. It is looked up by identifier
before anything is repeated. On 409 and 412 the resource is read again: elements of other writers
stay, ours are written over them. What lists images (`modality`, `series` and the counts) is ours
alone, and the endpoint of images that were deleted in due time goes as well, so that nothing that
was taken back returns with the note of another. Other elements that a changed mapping leaves out
stay where such a conflict was. [What follows each answer](../reference/outcomes.md) is a page of
its own."""

_SEARCH = """\
The only search parameter is `identifier`, always with system and value, with `_count=5`. Patients
are searched by `POST Patient/_search`, so that no identifier gets into an access log; by GET only
where the server answers that with 404, 405 or 501. A server that ignores the parameter is not
believed."""

_STATEMENT = """\
The same as a FHIR CapabilityStatement of kind `requirements`, in R4:"""


def fhir_conformance_page() -> str:
    """Return the page."""
    statement = orjson.dumps(capability_statement("r4"), option=orjson.OPT_INDENT_2).decode()
    return page(
        "FHIR conformance statement",
        _INTRODUCTION,
        "## Basics",
        _BASICS,
        "## Resources",
        table(
            ("Resource", "Interactions", "Why", "Asked for by", "Recognised by"),
            (
                (
                    code(name),
                    ", ".join(map(code, one.interactions)),
                    one.why,
                    one.setting or "always",
                    one.recognised_by,
                )
                for name, one in RESOURCES.items()
            ),
        ),
        "Nothing is ever deleted.",
        "## How a resource is written",
        _WAYS,
        "## Search",
        _SEARCH,
        "## Headers",
        table(("Header", "With"), _HEADERS),
        "## Authorization",
        table(("`auth.type`", "What is done"), _authorizations()),
        f"SMART Backend Services (and OAuth 2, where the server uses its scopes): {_scopes()}.",
        "## Limits",
        table(("Setting", "By default"), _limits()),
        "## CapabilityStatement",
        _STATEMENT,
        f"```json\n{statement}\n```",
    )


_HEADERS = (
    ("`Accept: application/fhir+json`", "every request"),
    ("`Content-Type: application/fhir+json`", "every request with a resource"),
    ('`If-Match: W/"[version]"`', "an update of a resource whose version is known"),
    ("`If-None-Exist: identifier=[system]|[value]`", "a create"),
    (
        "`Prefer: return=representation`",
        "ImagingStudy; `return=minimal` with Provenance and Patient",
    ),
    ("`Cache-Control: no-cache`", "every search: what was found a minute ago is not enough"),
    ("`Authorization`", "where `auth` is configured"),
)


def _authorizations() -> list[tuple[str, str]]:
    kinds = get_args(get_args(Auth)[0])
    return [
        (
            code(kind.model_fields["type"].annotation.__args__[0]),
            (kind.__doc__ or "").strip().partition("\n")[0],
        )
        for kind in kinds
    ]


def _scopes() -> str:
    """Return the scopes of all resources, in the form of SMART 2."""
    letters = {CREATE: "c", READ: "r", UPDATE: "u", SEARCH: "s"}
    scopes = []
    for name, used in RESOURCES.items():
        may = "".join(letter for one, letter in letters.items() if one in used.interactions)
        scopes.append(code(f"system/{name}.{may}"))
    return ", ".join(scopes)


def _limits() -> list[tuple[str, str]]:
    names = ("timeout_seconds", "max_body_bytes", "max_instances", "concurrency")
    return [(code(name), f"{FhirDestination.model_fields[name].default:,}") for name in names]


def capability_statement(release: Release) -> dict[str, Any]:
    """Return what a server needs to offer, as a resource (FHIR 4.0.1, CapabilityStatement)."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-25",
        "kind": "requirements",
        "fhirVersion": {"r4": "4.0.1", "r5": "5.0.0"}[release],
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "client",
                "resource": [_required(name, used) for name, used in RESOURCES.items()],
                "interaction": [{"code": TRANSACTION}],
            }
        ],
    }


def _required(name: str, used: Used) -> dict[str, Any]:
    required: dict[str, Any] = {
        "type": name,
        "documentation": used.why,
        "interaction": [{"code": one} for one in used.interactions],
    }
    if SEARCH in used.interactions:
        required["searchParam"] = [{"name": "identifier", "type": "token"}]
    return required
