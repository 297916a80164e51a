"""Several resources in one transaction, and references between them (FHIR http 3.1.0.11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intu_fhir.deliver.answers import (
    Answer,
    Json,
    Place,
    objects,
    place_in_headers,
    token,
    words,
)
from intu_fhir.deliver.capability import Capability
from intu_fhir.model.companion import Identity

MAX_ENTRIES = 400
"""Servers bound the entries of a Bundle, some at 500; above this resources go one by one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource that is to be sent.

    Args:
        kind: of what goes beside a study; nothing for the study itself.
        resource: references to other entries as ``urn:uuid:``.
        place: where the resource is at the server, if it is known to be there.
    """

    identity: Identity
    resource: Json
    content_hash: str
    place: Place | None = None
    kind: str = ""


def transaction(entries: Sequence[Entry], capability: Capability) -> Json:
    """Return the Bundle that brings all entries, or none of them."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": entry.identity.urn,
                "resource": _body(entry, capability.of(entry.identity.resource_type)),
                "request": _request(entry, capability.of(entry.identity.resource_type)),
            }
            for entry in entries
        ],
    }


def _body(entry: Entry, offers: Capability) -> Json:
    if entry.place is not None:
        return {**entry.resource, "id": entry.place.id}
    if own_id(entry.identity, offers):
        return {**entry.resource, "id": entry.identity.uuid}
    return entry.resource


def _request(entry: Entry, offers: Capability) -> Json:
    kind = entry.identity.resource_type
    if entry.place is not None:
        request = {"method": "PUT", "url": f"{kind}/{entry.place.id}"}
        if entry.place.version:
            request["ifMatch"] = f'W/"{entry.place.version}"'
        return request
    if own_id(entry.identity, offers):
        return {"method": "PUT", "url": f"{kind}/{entry.identity.uuid}"}
    if not entry.identity.system:
        return {"method": "POST", "url": kind}
    query = f"identifier={token(entry.identity.system, entry.identity.value)}"
    if offers.finds_by_itself:
        return {"method": "PUT", "url": f"{kind}?{query}"}
    return {"method": "POST", "url": kind, "ifNoneExist": query}


def own_id(identity: Identity, offers: Capability) -> bool:
    """Say whether we choose the id: of what has no identifier, where the server lets us."""
    return not identity.system and offers.update_create


def places_in(
    answer: Answer, entries: Sequence[Entry], capability: Capability
) -> list[Place] | None:
    """Return where the entries of a transaction are now; None where the answer does not say so.

    It does not where the version is that of before, or where the server found what another
    writer had created and so ignored ours: then only the content can tell.
    """
    bundle = answer.resource("Bundle")
    answered = objects(bundle.get("entry")) if bundle else []
    if len(answered) != len(entries):
        return None
    places = []
    for entry, said in zip(entries, answered, strict=True):
        response = said.get("response")
        if not isinstance(response, dict) or not words(response.get("status")).startswith("2"):
            return None
        headers = {name: words(response.get(name)) for name in ("location", "etag")}
        place = place_in_headers(Answer(200, headers, b""), entry.identity.resource_type)
        if place is None or not _has_effect(entry, place):
            return None
        if words(response.get("status")).startswith("200") and _if_none_exist(entry, capability):
            return None
        places.append(place)
    return places


def _has_effect(entry: Entry, place: Place) -> bool:
    before = entry.place
    if before is None:
        return True
    return place.id == before.id and (not place.version or place.version != before.version)


def _if_none_exist(entry: Entry, capability: Capability) -> bool:
    """Say whether an entry is sent so that the server ignores it where it has the resource."""
    request = _request(entry, capability.of(entry.identity.resource_type))
    return "ifNoneExist" in request


def resolved(value: Any, places: Mapping[str, str]) -> Any:
    """Return a resource whose references lead to where resources are.

    Args:
        places: literal reference by ``urn:uuid:``; what is not in it stays.
    """
    if isinstance(value, dict):
        return {
            key: places.get(inner, inner)
            if key == "reference" and isinstance(inner, str)
            else resolved(inner, places)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [resolved(inner, places) for inner in value]
    return value


def with_links(
    study: Json, endpoint: Json | None, performers: Mapping[str, Sequence[Json]]
) -> Json:
    """Return an ImagingStudy that names its image service and its equipment.

    Args:
        endpoint: reference to the Endpoint, if there is one.
        performers: references to Devices by Series Instance UID.
    """
    linked = dict(study)
    if endpoint is not None:
        linked["endpoint"] = _added(study.get("endpoint"), endpoint)
    if performers and study.get("series"):
        linked["series"] = [
            _performed(series, performers.get(words(series.get("uid")), ()))
            for series in objects(study.get("series"))
        ]
    return linked


def _performed(series: Json, devices: Sequence[Json]) -> Json:
    if not devices:
        return series
    performers = series.get("performer")
    for device in devices:
        performers = _added(performers, {"actor": device})
    return {**series, "performer": performers}


def _added(present: Any, one: Json) -> list[Json]:
    there = objects(present)
    return there if one in there else [*there, one]
