"""Requests and answers of the stand-in EHR, and what they are made of (FHIR R4 http)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from intu_fhir.demo.fhir_rules import outcome
from intu_fhir.demo.fhir_store import Resource

_IF_MATCH = re.compile(r'(?:W/)?"?([^"]*)"?')


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a status, a resource where there is one, and headers."""

    status: int
    resource: Resource | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Ends an interaction with an error answer."""

    def __init__(self, status: int, resource: Resource) -> None:
        super().__init__(str(status))
        self.reply = Reply(status, resource)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: path segments below the base, and the rest as HTTP has it.

    Args:
        new_id: id of what it creates; a transaction needs to know it beforehand.
    """

    method: str
    path: tuple[str, ...]
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    new_id: str = ""


def references(value: Any) -> Iterator[Resource]:
    """Give every object with a literal reference, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def refused(status: int, code: str, text: str, *paths: str) -> Refused:
    """Return the error answer that ends an interaction."""
    return Refused(status, outcome(code, text, *paths))


def body_of(asked: Asked) -> Resource:
    """Return the resource in a body."""
    try:
        value = orjson.loads(asked.body)
    except orjson.JSONDecodeError:
        raise refused(400, "structure", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise refused(400, "structure", "the body is not a resource")
    return value


def etag_of(resource: Resource) -> str:
    """Return the version of a resource as ETag."""
    return f'W/"{resource["meta"]["versionId"]}"'


def check_version(asked: Asked, current: Resource | None) -> None:
    """Refuse an update of another version than the one it names (If-Match)."""
    wanted = asked.headers.get("if-match", "")
    if not wanted:
        return
    found = _IF_MATCH.fullmatch(wanted.strip())
    if current is None or found is None or found[1] != current["meta"]["versionId"]:
        raise refused(412, "conflict", "the resource has another version")


def entry_request(entry: Resource) -> Asked:
    """Return an entry of a Bundle as a request of its own."""
    request = entry.get("request", {})
    path, _, query = str(request.get("url", "")).partition("?")
    names = {"ifMatch": "if-match", "ifNoneExist": "if-none-exist"}
    return Asked(
        method=str(request.get("method", "")),
        path=tuple(map(unquote, filter(None, path.split("/")))),
        query=query,
        headers={names[name]: str(request[name]) for name in names if name in request},
        body=orjson.dumps(entry.get("resource", {})),
    )


def entry_reply(reply: Reply) -> Resource:
    """Return the answer to an entry."""
    response = {
        "status": str(reply.status),
        "location": reply.headers.get("Location", ""),
        "etag": reply.headers.get("ETag", ""),
    }
    return {"response": response} | ({"resource": reply.resource} if reply.resource else {})
