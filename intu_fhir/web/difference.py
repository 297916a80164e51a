"""What differs between two versions of a resource, in rows that a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 500
"""Rows that are shown; a study whose instances were all renamed has more."""

_NAMED_BY = ("uid", "system", "url", "reference", "code")


@dataclass(frozen=True, slots=True)
class Change:
    """One place that differs; None stands for what is not there."""

    where: str
    kind: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """All places that differ, the first ``MOST`` of them named.

    Args:
        count: how many there are.
    """

    changes: Sequence[Change]
    count: int


def difference(before: Any, after: Any) -> Difference:
    """Compare two resources: parts of lists are told apart by what names them, not by place."""
    changes: list[Change] = []
    count = 0
    for change in _changes(before, after, ()):
        count += 1
        if len(changes) < MOST:
            changes.append(change)
    return Difference(changes, count)


def _changes(before: Any, after: Any, where: tuple[str, ...]) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _in_mappings(before, after, where)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_mappings(_by_name(before), _by_name(after), where)
    elif before != after or type(before) is not type(after):
        yield _change(before, after, where)


def _in_mappings(
    before: Mapping[str, Any], after: Mapping[str, Any], where: tuple[str, ...]
) -> Iterator[Change]:
    for name in [*before, *(name for name in after if name not in before)]:
        inner = (*where, name)
        if name not in before or name not in after:
            yield _change(before.get(name), after.get(name), inner)
        else:
            yield from _changes(before[name], after[name], inner)


def _by_name(parts: list[Any]) -> dict[str, Any]:
    """Name the parts of a list: by their UID or the like, numbered where that is not enough."""
    named: dict[str, Any] = {}
    for index, part in enumerate(parts):
        name = _name(part) or str(index + 1)
        unique, number = name, 1
        while unique in named:
            number += 1
            unique = f"{name} ({number})"
        named[unique] = part
    return named


def _name(part: Any) -> str:
    if not isinstance(part, dict):
        return ""
    return next((str(part[key]) for key in _NAMED_BY if isinstance(part.get(key), str)), "")


def _change(before: Any, after: Any, where: tuple[str, ...]) -> Change:
    kind = "added" if before is None else "removed" if after is None else "changed"
    return Change(" › ".join(where), kind, _text(before), _text(after))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)


def pretty(resource: Any) -> str:
    """Write a resource so that it can be read."""
    return json.dumps(resource, indent=2, ensure_ascii=False)
