"""What is to be published of a study, and how a transaction's answer is read."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from intu_fhir.deliver.answers import Answer, Json, objects, words
from intu_fhir.model.companion import Identity, study_identity

_NAMESPACE = uuid.UUID("0b3b6f4e-5d6c-5c0e-9a51-6c1f1a1f4f57")


@dataclass(frozen=True, slots=True)
class Publication:
    """What a server should have of a study, and what is known of it there.

    Args:
        content_hash: of ``resource``.
        server_id: id of the resource at the server, where it is known.
        version: version at the server that we wrote last.
        last_hash: hash of what we wrote last.
        last_warning: what was remarked on it.
        identity: of a resource that goes beside the study; None = the study's own.
        gone: elements that must not stay at the server, even where another wrote there since.
        remark: what the ledger is to say of it where it is delivered.
    """

    study_uid: str
    resource: Json
    content_hash: str
    server_id: str = ""
    version: str = ""
    last_hash: str = ""
    last_warning: str = ""
    identity: Identity | None = None
    gone: frozenset[str] = frozenset()
    remark: str = ""

    def is_there(self, digest: str) -> bool:
        """Say whether the server has this very content, so that it is not sent."""
        return bool(self.server_id) and self.last_hash == digest

    @property
    def recognised_by(self) -> Identity:
        """What the resource is recognised by at the server."""
        return self.identity or study_identity(self.study_uid)

    @property
    def own_id(self) -> str:
        """An id that always belongs to the resource, for a server that lets clients choose."""
        if self.identity:
            return self.identity.uuid
        return str(uuid.uuid5(_NAMESPACE, self.study_uid))


def private_values(resource: Json) -> tuple[str, ...]:
    """Return what names the patient in a resource: a server's words may repeat it."""
    subject = resource.get("subject")
    if not isinstance(subject, dict):
        return ()
    identifier = subject.get("identifier")
    values = [words(subject.get("display"))]
    if isinstance(identifier, dict):
        values.append(words(identifier.get("value")))
    parts = [part for value in values for part in value.replace(",", " ").split()]
    return tuple(filter(None, (*values, *parts)))


def is_conditional(resource: Json) -> bool:
    """Say whether the server is to resolve the patient, which only a transaction lets it do."""
    subject = resource.get("subject")
    return isinstance(subject, dict) and words(subject.get("reference")).startswith("Patient?")


_CONDITIONS = {"If-Match": "ifMatch", "If-None-Exist": "ifNoneExist"}
"""Headers of a request, and what an entry of a Bundle calls them (FHIR Bundle.entry.request)."""


def transaction_of_one(
    method: str, path: str, resource: Json, headers: Mapping[str, str], own_id: str
) -> Json:
    """Return the Bundle that does what one request does, under the same conditions."""
    conditions = {_CONDITIONS[k]: v for k, v in headers.items() if k in _CONDITIONS}
    entry = {
        "fullUrl": f"urn:uuid:{own_id}",
        "resource": resource,
        "request": {"method": method, "url": path, **conditions},
    }
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}


def entry_answer(answer: Answer) -> Answer:
    """Return the one entry of a transaction's answer as if it were an answer of its own."""
    if not answer.ok:
        return answer
    bundle = answer.resource("Bundle") or {}
    entries = objects(bundle.get("entry"))
    response = entries[0].get("response") if len(entries) == 1 else None
    if not isinstance(response, dict):
        return Answer(answer.status, {}, answer.body or b"{}")
    status = words(response.get("status"))[:3]
    shown = entries[0].get("resource") or response.get("outcome")
    return Answer(
        int(status) if status.isascii() and status.isdigit() else 0,
        {name: words(response.get(name)) for name in ("location", "etag")},
        orjson.dumps(shown) if isinstance(shown, dict) else b"",
    )
