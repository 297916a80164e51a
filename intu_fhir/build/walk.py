"""Looks at every value of a resource, and at every reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

from intu_fhir.build.datatypes import clean_text
from intu_fhir.mappings.elements import TARGETS, Release

Problem: TypeAlias = tuple[str, str]
"""Path and what is wrong there, without any value."""

_ACTORS_R5 = TARGETS["actor"] | {"HealthcareService"}
_TYPED = re.compile(
    r"(?:https?://[^\s?#]+/)?([A-Z][A-Za-z]{1,63})(?:/[A-Za-z0-9\-.]{1,64}"
    r"(?:/_history/[A-Za-z0-9\-.]{1,64})?|\?\S+)"
)
_UNTYPED = re.compile(r"#[A-Za-z0-9\-.]{1,64}|urn:uuid:[0-9a-f-]{36}|urn:oid:[0-9.]+")
_INSTANCE_KEYS = frozenset({"uid", "sopClass", "number", "title"})


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; anything else is not there."""
    if not isinstance(value, list | tuple):
        return []
    return [one for one in value if isinstance(one, dict)]


def references(resource: dict[str, Any], release: Release) -> Iterator[Problem]:
    """Give references that lead to a type which their element does not allow."""
    yield from _references_of(resource, "", release)
    for at, series in enumerate(dicts(resource.get("series"))):
        yield from _references_of(series, f"series[{at}].", release)
        for n, performer in enumerate(dicts(series.get("performer"))):
            yield from _references_of(performer, f"series[{at}].performer[{n}].", release)


def _references_of(holder: dict[str, Any], path: str, release: Release) -> Iterator[Problem]:
    for name, allowed in TARGETS.items():
        if name not in holder:
            continue
        if name == "actor" and release == "r5":
            allowed = _ACTORS_R5
        value = holder[name]
        for one in dicts(value) if isinstance(value, list) else dicts([value]):
            if problem := _wrong_reference(one, allowed):
                yield f"{path}{name}", problem


def _wrong_reference(reference: dict[str, Any], allowed: frozenset[str]) -> str:
    named, target = reference.get("type"), reference.get("reference")
    if named is not None and str(named) not in allowed:
        return f"its type must be one of {', '.join(sorted(allowed))}"
    if target is None or (isinstance(target, str) and _UNTYPED.fullmatch(target)):
        return ""
    found = _TYPED.fullmatch(target) if isinstance(target, str) else None
    if found is None:
        return "is not a FHIR reference"
    if found[1] not in allowed:
        return f"must lead to one of {', '.join(sorted(allowed))}"
    return "its type and its reference differ" if named not in {None, found[1]} else ""


def values_wrong(resource: dict[str, Any]) -> Iterator[Problem]:
    """Give codes without system, empty values and damaged text anywhere in a resource."""
    for key, value in resource.items():
        if key == "series" and isinstance(value, list) and value:
            yield from _series_wrong(value)
        else:
            yield from _wrong(value, key, key)


def _series_wrong(series: list[Any]) -> Iterator[Problem]:
    for at, one in enumerate(series):
        path = f"series[{at}]"
        if not isinstance(one, dict) or not one:
            yield from _wrong(one, path, "series")
            continue
        for key, value in one.items():
            if key == "instance" and isinstance(value, list) and value:
                yield from _instances_wrong(value, path)
            else:
                yield from _wrong(value, f"{path}.{key}", key)


def _instances_wrong(instances: list[Any], path: str) -> Iterator[Problem]:
    """Look at instances quickly: they share their SOP classes and hold little else."""
    known: set[int] = set()
    for at, instance in enumerate(instances):
        if not isinstance(instance, dict) or not instance or instance.keys() - _INSTANCE_KEYS:
            yield from _wrong(instance, f"{path}.instance[{at}]", "instance")
            continue
        sop_class, title = instance.get("sopClass"), instance.get("title", "-")
        if sop_class is not None and id(sop_class) not in known:
            known.add(id(sop_class))
            yield from _wrong(sop_class, f"{path}.instance[{at}].sopClass", "sopClass")
        if title != "-":
            yield from _wrong(title, f"{path}.instance[{at}].title", "title")


def _wrong(value: Any, path: str, key: str) -> Iterator[Problem]:
    if value is None or value in ("", [], {}):
        yield path, "is empty"
    elif isinstance(value, str):
        if not value.strip() or (problem := _wrong_text(value)):
            yield path, problem if value.strip() else "is blank"
    elif isinstance(value, dict):
        yield from _wrong_object(value, path, key)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _wrong(inner, f"{path}[{at}]", key)


def _wrong_object(value: dict[str, Any], path: str, key: str) -> Iterator[Problem]:
    if isinstance(value.get("code"), str) and "system" not in value:
        yield path, "has a code without its system"
    for name, inner in value.items():
        yield from _wrong(inner, f"{path}.{name}", name)


def _wrong_text(value: str) -> str:
    cleaned = clean_text(value)
    if cleaned is None:
        return "holds characters that could not be decoded"
    return "" if len(cleaned) == len(value.strip()) else "holds control characters"
