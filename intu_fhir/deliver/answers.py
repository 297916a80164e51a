"""What a FHIR server says, read leniently: a strict model would hide the server's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import orjson

Json: TypeAlias = dict[str, Any]

STUDY_SYSTEM = "urn:dicom:uid"
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"([^"]{1,128})"')
_LOCATION = re.compile(
    r"(?:^|/)(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9.-]{1,64}))?/?$"
)
_MAX_ISSUES = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer.

    Args:
        headers: by lower-case name; a repeated one is joined by commas.
        body: decoded from its transfer and content coding.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is of the 2xx class."""
        return 200 <= self.status < 300

    def json(self) -> Json | None:
        """Return the body as a JSON object, or None where it is none."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) else None

    @property
    def is_fhir(self) -> bool:
        """Whether the body is a resource at all, and not somebody's page."""
        value = self.json()
        return value is not None and bool(words(value.get("resourceType")))

    def resource(self, resource_type: str) -> Json | None:
        """Return the body where it is a resource of this type."""
        value = self.json()
        return value if value and value.get("resourceType") == resource_type else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource is at a server."""

    id: str
    version: str = ""


def study_identifier(study_uid: str) -> tuple[str, str]:
    """Return system and value that identify a study (FHIR ImagingStudy, note on identifiers)."""
    return STUDY_SYSTEM, f"urn:oid:{study_uid}"


def token(system: str, value: str) -> str:
    """Return ``system|value`` for a URL; servers refuse a bare ``|`` (FHIR search, token)."""
    return quote(f"{system}|{value}", safe="")


def bears_identifier(resource: Json, system: str, value: str) -> bool:
    """Say whether a resource has this identifier."""
    return any(
        i.get("system") == system and i.get("value") == value for i in _identifiers(resource)
    )


def _identifiers(resource: Json) -> list[Json]:
    return objects(resource.get("identifier"))


def objects(value: Any) -> list[Json]:
    """Return the objects of a list, whatever stands there."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def words(value: Any) -> str:
    """Return a string, whatever stands there."""
    return value if isinstance(value, str) else ""


def place_of(resource: Json) -> Place | None:
    """Return id and version that a resource says of itself."""
    identity, meta = words(resource.get("id")), resource.get("meta")
    version = words(meta.get("versionId")) if isinstance(meta, dict) else ""
    return Place(identity, version) if _ID.fullmatch(identity) else None


def is_part(resource: Json) -> bool:
    """Say whether a resource is marked as shown in part (FHIR search, tag SUBSETTED)."""
    meta = resource.get("meta")
    tags = objects(meta.get("tag")) if isinstance(meta, dict) else []
    return any(tag.get("code") == "SUBSETTED" for tag in tags)


def place_in_headers(answer: Answer, resource_type: str) -> Place | None:
    """Return id and version from Location and ETag; nothing is ever requested from Location."""
    for name in ("location", "content-location"):
        found = _LOCATION.search(urlsplit_path(answer.headers.get(name, "")))
        if found and found["type"] == resource_type:
            return Place(found["id"], found["version"] or etag(answer))
    return None


def urlsplit_path(url: str) -> str:
    """Return the path of a URL, or nothing where it is none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def etag(answer: Answer) -> str:
    """Return the version in ETag ``W/"..."``, or nothing."""
    found = _ETAG.fullmatch(answer.headers.get("etag", "").strip())
    return found[1] if found else ""


def matches(bundle: Json, resource_type: str) -> list[Json]:
    """Return the resources that a searchset bundle found, outcomes and includes left out."""
    return [
        entry["resource"]
        for entry in objects(bundle.get("entry"))
        if isinstance(entry.get("resource"), dict)
        and entry["resource"].get("resourceType") == resource_type
        and _search_mode(entry) == "match"
    ]


def _search_mode(entry: Json) -> str:
    search = entry.get("search")
    return words(search.get("mode")) or "match" if isinstance(search, dict) else "match"


def said(answer: Answer) -> str:
    """Return what an answer says in words: its OperationOutcome, else the start of its text."""
    value = answer.json()
    if value is None:
        text = answer.body[:2_000].decode("utf-8", "replace")
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())[:300]
    return outcome_words(value)


def outcome_words(value: Json, *severities: str) -> str:
    """Return the issues of an OperationOutcome in one line; all, or those of some severities."""
    if value.get("resourceType") != "OperationOutcome":
        return ""
    issues = [
        issue
        for issue in objects(value.get("issue"))
        if not severities or words(issue.get("severity")) in severities
    ]
    lines = [" ".join(_issue(issue)) for issue in issues[:_MAX_ISSUES]]
    more = [f"and {len(issues) - _MAX_ISSUES} more"] if len(issues) > _MAX_ISSUES else []
    return "; ".join(line for line in [*lines, *more] if line)


def _issue(issue: Json) -> Iterator[str]:
    yield from filter(None, (words(issue.get("severity")), words(issue.get("code"))))
    details = issue.get("details")
    if isinstance(details, dict):
        for coding in objects(details.get("coding"))[:2]:
            yield from filter(None, (words(coding.get("code")), words(coding.get("display"))))
        if text := words(details.get("text")):
            yield text
    if diagnostics := words(issue.get("diagnostics")):
        yield diagnostics
    paths = issue.get("expression") or issue.get("location")
    if isinstance(paths, list) and (listed := [p for p in paths if isinstance(p, str)]):
        yield "at " + ", ".join(listed[:3])
