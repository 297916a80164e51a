"""The RESTful interactions of the stand-in EHR, without a network (FHIR R4 http)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from intu_fhir.demo.fhir_rules import FHIR_VERSIONS, objections, outcome, refusal
from intu_fhir.demo.fhir_store import FhirStore, Resource

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}", re.ASCII)
_IF_MATCH = re.compile(r'(?:W/)?"?([^"]*)"?')
_RESULT_PARAMETERS = frozenset({"_count", "_format", "_summary", "_elements"})


@dataclass(frozen=True, slots=True)
class Features:
    """What the stand-in offers; switch things off to play a server that has less."""

    conditional_create: bool = True
    conditional_update: bool = True
    update_create: bool = True
    transaction: bool = True
    post_search: bool = True
    types: tuple[str, ...] = ("ImagingStudy", "Patient", "Endpoint", "ServiceRequest")
    interactions: tuple[str, ...] = (
        "read", "vread", "update", "delete", "history-instance", "create", "search-type",
    )  # fmt: skip


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
    """A request: path segments below the base, and the rest as HTTP has it."""

    method: str
    path: tuple[str, ...]
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class FhirService:
    """Answers requests from a store.

    Args:
        base_url: what ``Location`` begins with.
    """

    def __init__(self, store: FhirStore, release: str, base_url: str, features: Features) -> None:
        self._store, self._release, self._base = store, release, base_url
        self.features = features

    def answer(self, asked: Asked) -> Reply:
        """Answer one request."""
        try:
            return self._route(asked)
        except Refused as refused:
            return refused.reply

    def _route(self, asked: Asked) -> Reply:
        if not asked.path:
            if asked.method == "POST" and self.features.transaction:
                return self._bundle(_body(asked))
            raise _refused(405, "not-supported", "POST a transaction Bundle here")
        if asked.path == ("metadata",):
            return Reply(200, self.capability_statement())
        kind, *rest = asked.path
        if not _TYPE.fullmatch(kind) or kind not in self.features.types:
            raise _refused(404, "not-supported", "this resource type is not offered")
        handler = self._handlers().get((asked.method, len(rest), rest[-1:] == ["_search"]))
        if handler is None or (len(rest) > 1 and rest[1] != "_history"):
            raise _refused(405, "not-supported", "this interaction is not offered")
        return handler(kind, rest, asked)

    def _handlers(self) -> Mapping[tuple[str, int, bool], _Handler]:
        """By method, number of path segments after the type, and whether it is a search."""
        return {
            ("GET", 0, False): self._search,
            ("GET", 1, False): self._read,
            ("GET", 2, False): self._history,
            ("GET", 3, False): self._vread,
            ("POST", 0, False): self._create,
            ("POST", 1, True): self._search,
            ("PUT", 0, False): self._conditional_update,
            ("PUT", 1, False): self._update,
            ("DELETE", 1, False): self._delete,
        }

    # ---- reading

    def _read(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        history = self._store.history(kind, rest[0])
        if not history:
            raise _refused(404, "not-found", "there is no such resource")
        if history[-1] is None:
            raise _refused(410, "deleted", "the resource was deleted")
        return Reply(200, history[-1], {"ETag": _etag(history[-1])})

    def _vread(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        number = int(rest[2]) if rest[2].isascii() and rest[2].isdigit() else 0
        history = self._store.history(kind, rest[0])
        version = history[number - 1] if 0 < number <= len(history) else None
        if version is None:
            raise _refused(404, "not-found", "there is no such version")
        return Reply(200, version, {"ETag": _etag(version)})

    def _history(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        versions = [v for v in self._store.history(kind, rest[0]) if v is not None]
        if not versions:
            raise _refused(404, "not-found", "there is no such resource")
        return Reply(200, self._listing("history", versions[::-1]))

    def _search(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        if asked.method == "POST" and not self.features.post_search:
            raise _refused(405, "not-supported", "search by GET")
        query = asked.body.decode("utf-8", "replace") if asked.method == "POST" else asked.query
        return Reply(200, self._listing("searchset", self._matching(kind, query)))

    def _matching(self, kind: str, query: str) -> list[Resource]:
        """Return what a search finds; a bare ``|`` and unknown parameters are refused."""
        if "|" in query:
            raise _refused(400, "invalid", "write | as %7C in a URL")
        found: list[Resource] | None = None
        for name, value in parse_qsl(query):
            if name == "identifier":
                system, bar, rest = value.partition("|")
                hits = self._store.find(kind, system if bar else None, rest if bar else value)
            elif name == "_id":
                hits = [r for r in [self._store.current(kind, value)] if r is not None]
            elif name in _RESULT_PARAMETERS:
                continue
            else:
                raise _refused(400, "not-supported", "this search parameter is not offered")
            found = hits if found is None else [resource for resource in found if resource in hits]
        return self._store.all(kind) if found is None else found

    def _listing(self, kind: str, resources: list[Resource]) -> Resource:
        entries = [
            {"fullUrl": f"{self._base}/{r['resourceType']}/{r['id']}", "resource": r}
            | ({"search": {"mode": "match"}} if kind == "searchset" else {})
            for r in resources
        ]
        return {"resourceType": "Bundle", "type": kind, "total": len(entries), "entry": entries}

    # ---- writing

    def _create(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        resource = self._valid(kind, _body(asked))
        condition = asked.headers.get("if-none-exist", "")
        with self._store.lock:
            if condition and self.features.conditional_create:
                found = self._matching(kind, condition)
                if len(found) > 1:
                    raise _refused(412, "multiple-matches", "several resources match")
                if found:
                    return self._written(200, found[0], asked)
            resource = {name: value for name, value in resource.items() if name != "id"}
            return self._written(201, self._store.write(resource), asked)

    def _update(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        resource = self._valid(kind, _body(asked))
        identity = rest[0]
        if not _ID.fullmatch(identity) or resource.get("id") != identity:
            raise _refused(400, "invalid", "the id of the resource is not that of the URL")
        with self._store.lock:
            current = self._store.current(kind, identity)
            if current is None and not self.features.update_create:
                raise _refused(404, "not-found", "there is no such resource")
            _check_version(asked, current)
            status = 200 if current else 201
            return self._written(status, self._store.write(resource, identity), asked)

    def _conditional_update(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        """FHIR R4 http 3.1.0.4.3."""
        if not self.features.conditional_update or not asked.query:
            raise _refused(400, "not-supported", "conditional update is not offered")
        resource = self._valid(kind, _body(asked))
        with self._store.lock:
            found = self._matching(kind, asked.query)
            if len(found) > 1:
                raise _refused(412, "multiple-matches", "several resources match")
            identity = found[0]["id"] if found else ""
            if "id" in resource and resource["id"] != identity:
                raise _refused(400, "invalid", "the id is not that of the resource that matches")
            _check_version(asked, found[0] if found else None)
            status = 200 if found else 201
            return self._written(status, self._store.write(resource, identity), asked)

    def _delete(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        self._store.delete(kind, rest[0])
        return Reply(204)

    def _valid(self, kind: str, resource: Resource) -> Resource:
        """Return the resource, or refuse it."""
        if resource.get("resourceType") != kind:
            raise _refused(400, "invalid", "the resource is not of the type in the URL")
        if found := objections(resource, self._release):
            raise Refused(422, refusal(found))
        for reference in references(resource):
            of, _, identity = reference["reference"].partition("/")
            if of in self.features.types and self._store.current(of, identity) is None:
                raise _refused(422, "not-found", f"a reference leads to no {of}", kind)
        return resource

    def _written(self, status: int, resource: Resource, asked: Asked) -> Reply:
        version = resource["meta"]["versionId"]
        place = f"{self._base}/{resource['resourceType']}/{resource['id']}/_history/{version}"
        minimal = "return=minimal" in asked.headers.get("prefer", "")
        headers = {"Location": place, "ETag": _etag(resource)}
        return Reply(status, None if minimal else resource, headers)

    # ---- transactions

    def _bundle(self, bundle: Resource) -> Reply:
        """Carry out a transaction of creates and updates: all of it, or nothing."""
        entries = bundle.get("entry")
        if bundle.get("type") != "transaction" or not isinstance(entries, list):
            raise _refused(400, "invalid", "a Bundle of type transaction is wanted")
        with self._store.lock:
            self._resolve_references(entries)
            requests = [_entry_request(entry) for entry in entries]
            for asked in requests:
                self._valid(asked.path[0] if asked.path else "", _body(asked))
            replies = [self._route(asked) for asked in requests]
        return Reply(
            200,
            {
                "resourceType": "Bundle",
                "type": "transaction-response",
                "entry": [_entry(reply) for reply in replies],
            },
        )

    def _resolve_references(self, entries: list[Any]) -> None:
        """Put ids in place of ``Patient?identifier=...`` (FHIR R4 http 3.1.0.11.2)."""
        for entry in entries:
            for reference in references(entry.get("resource", {})):
                kind, mark, query = reference["reference"].partition("?")
                if mark:
                    found = self._matching(kind, query)
                    if len(found) != 1:
                        raise _refused(412, "multiple-matches", f"{len(found)} {kind} match")
                    reference["reference"] = f"{kind}/{found[0]['id']}"

    def capability_statement(self) -> Resource:
        """Return what this server offers."""
        features = self.features
        resources = [
            {
                "type": kind,
                "interaction": [{"code": code} for code in features.interactions],
                "versioning": "versioned-update",
                "conditionalCreate": features.conditional_create,
                "conditionalUpdate": features.conditional_update,
                "updateCreate": features.update_create,
                "searchParam": [{"name": "identifier", "type": "token"}],
            }
            for kind in features.types
        ]
        rest: Resource = {"mode": "server", "resource": resources}
        if features.transaction:
            rest["interaction"] = [{"code": "transaction"}]
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2024-01-01",
            "kind": "instance",
            "software": {"name": "intu-fhir stand-in EHR"},
            "fhirVersion": FHIR_VERSIONS[self._release],
            "format": ["json"],
            "rest": [rest],
        }


_Handler = Callable[[str, list[str], Asked], Reply]


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


def _refused(status: int, code: str, text: str, *paths: str) -> Refused:
    return Refused(status, outcome(code, text, *paths))


def _body(asked: Asked) -> Resource:
    try:
        value = orjson.loads(asked.body)
    except orjson.JSONDecodeError:
        raise _refused(400, "structure", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise _refused(400, "structure", "the body is not a resource")
    return value


def _etag(resource: Resource) -> str:
    return f'W/"{resource["meta"]["versionId"]}"'


def _check_version(asked: Asked, current: Resource | None) -> None:
    """Refuse an update of another version than the one it names (If-Match)."""
    wanted = asked.headers.get("if-match", "")
    if not wanted:
        return
    found = _IF_MATCH.fullmatch(wanted.strip())
    if current is None or found is None or found[1] != current["meta"]["versionId"]:
        raise _refused(412, "conflict", "the resource has another version")


def _entry_request(entry: Resource) -> Asked:
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


def _entry(reply: Reply) -> Resource:
    response = {
        "status": str(reply.status),
        "location": reply.headers.get("Location", ""),
        "etag": reply.headers.get("ETag", ""),
    }
    return {"response": response} | ({"resource": reply.resource} if reply.resource else {})
