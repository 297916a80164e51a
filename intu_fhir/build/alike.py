"""Leaves out what a schema would judge the same way as what stands before it.

The instances of a series differ in UID, number and title alone. A schema that has accepted one
of them says the same about the next one as long as these three have the right form, which is a
regular expression here and tens of microseconds there.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
_PLAIN_TEXT = re.compile(r"[^\s\x00-\x1f](?:[ -~\u00a0-\ud7ff\ue000-\uffff]{0,1000})")
_MAX_INTEGER = 2**31 - 1
_OWN = frozenset({"uid", "number", "title"})
_USUAL = _OWN | {"sopClass"}


def without_alike(resource: dict[str, Any]) -> dict[str, Any]:
    """Return an ImagingStudy with those instances of each series that are not like another one.

    Whatever has an unusual form stays, so the schema accepts the result if and only if it
    accepts the whole.
    """
    series = resource.get("series")
    if not isinstance(series, list):
        return resource
    return {**resource, "series": [_reduced(one) for one in series]}


def _reduced(series: Any) -> Any:
    if not isinstance(series, dict) or not isinstance(series.get("instance"), list):
        return series
    kept: list[Any] = []
    seen: set[tuple[tuple[str, ...], bytes]] = set()
    for instance in series["instance"]:
        pattern = _pattern(instance)
        if pattern is None or pattern not in seen:
            kept.append(instance)
        if pattern is not None:
            seen.add(pattern)
    return {**series, "instance": kept}


def _pattern(instance: Any) -> tuple[tuple[str, ...], bytes] | None:
    """Return what instances that a schema judges alike share; None = judge this one by itself."""
    if not isinstance(instance, dict) or not _is_plain(instance):
        return None
    try:
        if instance.keys() <= _USUAL:
            shared = orjson.dumps(instance.get("sopClass"))
        else:
            others = {name: value for name, value in instance.items() if name not in _OWN}
            shared = orjson.dumps(others, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return tuple(instance), shared


def _is_plain(instance: dict[str, Any]) -> bool:
    """Say whether UID, number and title have forms that every release accepts."""
    uid, number, title = instance.get("uid"), instance.get("number", 0), instance.get("title", "-")
    return (
        type(uid) is str
        and _ID.fullmatch(uid) is not None
        and type(number) is int
        and 0 <= number <= _MAX_INTEGER
        and (title == "-" or (type(title) is str and _PLAIN_TEXT.fullmatch(title) is not None))
    )
