"""The RESTful interactions of the stand-in EHR, without a network (FHIR R4 http)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import orjson

from intu_fhir.demo.fhir_http import (
    Asked,
    Refused,
    Reply,
    body_of,
    check_version,
    entry_reply,
    entry_request,
    etag_of,
    references,
    refused,
)
from intu_fhir.demo.fhir_rules import FHIR_VERSIONS, objections, refusal
from intu_fhir.demo.fhir_store import FhirStore, Resource

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}", re.ASCII)
_RESULT_PARAMETERS = frozenset({"_count", "_format", "_summary", "_elements"})


@dataclass(frozen=True, slots=True)
class Features:
    """What the stand-in offers; switch things off to play a server that has less."""

    conditional_create: bool = True
    conditional_update: bool = True
    update_create: bool = True
    transaction: bool = True
    post_search: bool = True
    types: tuple[str, ...] = (
        "ImagingStudy", "Patient", "Endpoint", "ServiceRequest", "Device", "Observation",
        "Provenance", "DocumentReference",
    )  # fmt: skip
    interactions: tuple[str, ...] = (
        "read", "vread", "update", "delete", "history-instance", "create", "search-type",
    )  # fmt: skip


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
                return self._bundle(body_of(asked))
            raise refused(405, "not-supported", "POST a transaction Bundle here")
        if asked.path == ("metadata",):
            return Reply(200, self.capability_statement())
        kind, *rest = asked.path
        if not _TYPE.fullmatch(kind) or kind not in self.features.types:
            raise refused(404, "not-supported", "this resource type is not offered")
        handler = self._handlers().get((asked.method, len(rest), rest[-1:] == ["_search"]))
        if handler is None or (len(rest) > 1 and rest[1] != "_history"):
            raise refused(405, "not-supported", "this interaction is not offered")
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
            raise refused(404, "not-found", "there is no such resource")
        if history[-1] is None:
            raise refused(410, "deleted", "the resource was deleted")
        return Reply(200, history[-1], {"ETag": etag_of(history[-1])})

    def _vread(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        number = int(rest[2]) if rest[2].isascii() and rest[2].isdigit() else 0
        history = self._store.history(kind, rest[0])
        version = history[number - 1] if 0 < number <= len(history) else None
        if version is None:
            raise refused(404, "not-found", "there is no such version")
        return Reply(200, version, {"ETag": etag_of(version)})

    def _history(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        versions = [v for v in self._store.history(kind, rest[0]) if v is not None]
        if not versions:
            raise refused(404, "not-found", "there is no such resource")
        return Reply(200, self._listing("history", versions[::-1]))

    def _search(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        if asked.method == "POST" and not self.features.post_search:
            raise refused(405, "not-supported", "search by GET")
        query = asked.body.decode("utf-8", "replace") if asked.method == "POST" else asked.query
        return Reply(200, self._listing("searchset", self._matching(kind, query)))

    def _matching(self, kind: str, query: str) -> list[Resource]:
        """Return what a search finds; a bare ``|`` and unknown parameters are refused."""
        if "|" in query:
            raise refused(400, "invalid", "write | as %7C in a URL")
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
                raise refused(400, "not-supported", "this search parameter is not offered")
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
        resource = self._valid(kind, body_of(asked))
        condition = asked.headers.get("if-none-exist", "")
        with self._store.lock:
            if condition and self.features.conditional_create:
                found = self._matching(kind, condition)
                if len(found) > 1:
                    raise refused(412, "multiple-matches", "several resources match")
                if found:
                    return self._written(200, found[0], asked)
            resource = {name: value for name, value in resource.items() if name != "id"}
            return self._written(201, self._store.write(resource, asked.new_id), asked)

    def _update(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        resource = self._valid(kind, body_of(asked))
        identity = rest[0]
        if not _ID.fullmatch(identity) or resource.get("id") != identity:
            raise refused(400, "invalid", "the id of the resource is not that of the URL")
        with self._store.lock:
            current = self._store.current(kind, identity)
            if current is None and not self.features.update_create:
                raise refused(404, "not-found", "there is no such resource")
            check_version(asked, current)
            status = 200 if current else 201
            return self._written(status, self._store.write(resource, identity), asked)

    def _conditional_update(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        """FHIR R4 http 3.1.0.4.3."""
        if not self.features.conditional_update or not asked.query:
            raise refused(400, "not-supported", "conditional update is not offered")
        resource = self._valid(kind, body_of(asked))
        with self._store.lock:
            found = self._matching(kind, asked.query)
            if len(found) > 1:
                raise refused(412, "multiple-matches", "several resources match")
            identity = found[0]["id"] if found else ""
            if "id" in resource and resource["id"] != identity:
                raise refused(400, "invalid", "the id is not that of the resource that matches")
            check_version(asked, found[0] if found else None)
            status = 200 if found else 201
            written = self._store.write(resource, identity or asked.new_id)
            return self._written(status, written, asked)

    def _delete(self, kind: str, rest: list[str], asked: Asked) -> Reply:
        self._store.delete(kind, rest[0])
        return Reply(204)

    def _valid(self, kind: str, resource: Resource, known: Collection[str] = ()) -> Resource:
        """Return the resource, or refuse it; ``known`` references will lead to something."""
        if resource.get("resourceType") != kind:
            raise refused(400, "invalid", "the resource is not of the type in the URL")
        if found := objections(resource, self._release):
            raise Refused(422, refusal(found))
        for reference in references(resource):
            if reference["reference"] in known:
                continue
            of, identity = [*reference["reference"].split("/"), ""][:2]
            if of in self.features.types and self._store.current(of, identity) is None:
                raise refused(422, "not-found", f"a reference leads to no {of}", kind)
        return resource

    def _written(self, status: int, resource: Resource, asked: Asked) -> Reply:
        version = resource["meta"]["versionId"]
        place = f"{self._base}/{resource['resourceType']}/{resource['id']}/_history/{version}"
        minimal = "return=minimal" in asked.headers.get("prefer", "")
        headers = {"Location": place, "ETag": etag_of(resource)}
        return Reply(status, None if minimal else resource, headers)

    # ---- transactions

    def _bundle(self, bundle: Resource) -> Reply:
        """Carry out a transaction of creates and updates: all of it, or nothing."""
        entries = bundle.get("entry")
        if bundle.get("type") != "transaction" or not isinstance(entries, list):
            raise refused(400, "invalid", "a Bundle of type transaction is wanted")
        with self._store.lock:
            self._resolve_references(entries)
            requests = self._placed(entries)
            known = {f"{asked.path[0]}/{asked.new_id}" for asked in requests if asked.path}
            for asked in requests:
                self._valid(asked.path[0] if asked.path else "", body_of(asked), known)
                self._check_entry(asked)
            replies = [self._route(asked) for asked in requests]
        return Reply(
            200,
            {
                "resourceType": "Bundle",
                "type": "transaction-response",
                "entry": [entry_reply(reply) for reply in replies],
            },
        )

    def _placed(self, entries: list[Any]) -> list[Asked]:
        """Choose the ids of what is new, and let ``urn:uuid:`` references lead to them."""
        requests = [entry_request(entry) for entry in entries]
        placed = [replace(asked, new_id=self._identity_of(asked)) for asked in requests]
        targets = [(asked.path[:1], asked.new_id) for asked in placed]
        if len(set(targets)) < len(targets):
            raise refused(400, "invalid", "two entries are for the same resource")
        there: dict[str, str] = {
            str(entry.get("fullUrl", "")): f"{asked.path[0]}/{asked.new_id}"
            for entry, asked in zip(entries, placed, strict=True)
            if asked.path
        }
        for entry in entries:
            for reference in references(entry.get("resource", {})):
                target = there.get(reference["reference"], str(reference["reference"]))
                if target.startswith("urn:uuid:"):
                    raise refused(400, "not-found", "a reference leads to no entry")
                reference["reference"] = target
        return [
            replace(asked, body=orjson.dumps(entry.get("resource", {})))
            for entry, asked in zip(entries, placed, strict=True)
        ]

    def _identity_of(self, asked: Asked) -> str:
        """Return which id an entry of a transaction is for."""
        if len(asked.path) == 2:
            return asked.path[1]
        query = asked.query or asked.headers.get("if-none-exist", "")
        found = self._matching(asked.path[0], query) if query and asked.path else []
        if len(found) > 1:
            raise refused(412, "multiple-matches", "several resources match")
        return str(found[0]["id"]) if found else str(uuid.uuid4())

    def _check_entry(self, asked: Asked) -> None:
        """Refuse a wrong version before anything of a transaction is done."""
        if "if-match" in asked.headers:
            check_version(asked, self._store.current(asked.path[0], asked.new_id))

    def _resolve_references(self, entries: list[Any]) -> None:
        """Put ids in place of ``Patient?identifier=...`` (FHIR R4 http 3.1.0.11.2)."""
        for entry in entries:
            for reference in references(entry.get("resource", {})):
                kind, mark, query = reference["reference"].partition("?")
                if mark:
                    found = self._matching(kind, query)
                    if len(found) != 1:
                        raise refused(412, "multiple-matches", f"{len(found)} {kind} match")
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
