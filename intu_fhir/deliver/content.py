"""What is compared, merged and left out of an ImagingStudy on its way to a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from intu_fhir.deliver.answers import Json, objects, words
from intu_fhir.deliver.publication import is_conditional

_SERVER_OWNED = frozenset({"id", "meta", "text"})
_OF_IMAGES = frozenset({"modality", "series", "numberOfSeries", "numberOfInstances"})
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_META_OWNED = frozenset({"versionId", "lastUpdated", "source"})


def same_content(ours: Json, theirs: Json) -> bool:
    """Say whether a server's resource is ours, what servers add themselves left aside."""
    return bool(_as_read(_content(_resolved(ours, theirs))) == _as_read(_content(theirs)))


def _resolved(ours: Json, theirs: Json) -> Json:
    """Return ours with the patient that the server has put for a search of our identifier."""
    subject, found = ours.get("subject"), theirs.get("subject")
    if not (is_conditional(ours) and isinstance(subject, dict) and isinstance(found, dict)):
        return ours
    return {**ours, "subject": {**subject, "reference": found.get("reference")}}


def _as_read(value: Any) -> Any:
    """Return values in the one form that exact decimals and times have at every server."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str):
        return _moment(value) if _MOMENT.fullmatch(value) else value
    if isinstance(value, dict):
        return {key: _as_read(inner) for key, inner in value.items()}
    return [_as_read(inner) for inner in value] if isinstance(value, list) else value


def _moment(value: str) -> str:
    """Return a time with its zone as UTC: some servers keep the moment, not the zone."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return value


def _content(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key not in _SERVER_OWNED}


def rebase(ours: Json, current: Json, gone: frozenset[str] = frozenset()) -> Json:
    """Put our content on top of a version that somebody else wrote.

    Elements that we do not send, identifiers and tags that others added stay as they are. What
    lists images is ours alone: images that were rejected do not come back with another's note.

    Args:
        gone: elements that do not stay, whoever wrote them.
    """
    left = _SERVER_OWNED | _OF_IMAGES | gone
    added = {k: v for k, v in current.items() if k not in ours and k not in left}
    merged = {**added, **ours}
    known = objects(ours.get("identifier"))
    others = [i for i in objects(current.get("identifier")) if _key(i) not in map(_key, known)]
    if others:
        merged["identifier"] = [*known, *others]
    if meta := _meta(ours.get("meta"), current.get("meta")):
        merged["meta"] = meta
    return merged


def _key(identifier: Json) -> tuple[str, str]:
    return words(identifier.get("system")), words(identifier.get("value"))


def _meta(ours: Any, current: Any) -> Json:
    theirs = current if isinstance(current, dict) else {}
    kept = {k: v for k, v in theirs.items() if k not in _META_OWNED}
    return {**kept, **(ours if isinstance(ours, dict) else {})}


def number_of_instances(resource: Json) -> int:
    """Return how many instances a resource lists."""
    return sum(len(objects(series.get("instance"))) for series in objects(resource.get("series")))


def without_instances(resource: Json) -> Json:
    """Return the resource with its series and counts, and no instance listed.

    Never a part of them: a short list would contradict numberOfInstances.
    """
    series = [
        {key: value for key, value in one.items() if key != "instance"}
        for one in objects(resource.get("series"))
    ]
    return {**resource, "series": series}
