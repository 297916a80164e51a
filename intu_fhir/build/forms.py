"""Semantic checks of forms: times, contained resources, shapes by release (S13 to S16)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, TypeAlias, TypeGuard

from intu_fhir.build.walk import Problem, dicts
from intu_fhir.mappings import Release
from intu_fhir.mappings.elements import ELEMENTS

Json: TypeAlias = dict[str, Any]

_DATE_TIME = re.compile(
    r"\d{4}(?:-\d\d(?:-\d\d(?P<time>T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))?)?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class View:
    """A resource as the checks look at it; whatever has the wrong type is not there.

    Args:
        acquisition: modalities of PS3.16 CID 29.
    """

    resource: Json
    release: Release
    acquisition: frozenset[str]

    @cached_property
    def series(self) -> list[Json]:
        """The series."""
        return dicts(self.resource.get("series"))

    @cached_property
    def instances(self) -> list[Json]:
        """The listed instances of all series."""
        return [one for series in self.series for one in dicts(series.get("instance"))]

    def path_of(self, at: int) -> str:
        """Return the path of one of ``instances``."""
        for number, series in enumerate(self.series):
            listed = len(dicts(series.get("instance")))
            if at < listed:
                return f"series[{number}].instance[{at}]"
            at -= listed
        raise IndexError(at)


def s13_times(view: View) -> Iterator[Problem]:
    """Times have a zone and days exist."""
    for path, value in _times(view):
        found = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            yield path, "is not a FHIR dateTime with a zone"
        elif len(value) >= 10 and _day(value) is None:
            yield path, "is a day that does not exist"


def s13_plausible(view: View) -> Iterator[Problem]:
    """Days are not from before X-rays."""
    for path, value in _times(view):
        if isinstance(value, str) and _DATE_TIME.fullmatch(value) and value[:4] < "1890":
            yield path, "is before 1890"


def _times(view: View) -> Iterator[tuple[str, Any]]:
    holders = [("started", view.resource)]
    holders += [(f"series[{at}].started", one) for at, one in enumerate(view.series)]
    return ((path, holder["started"]) for path, holder in holders if "started" in holder)


def _day(value: str) -> date | None:
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def s14_contained(view: View) -> Iterator[Problem]:
    """What is contained is referred to, and contains nothing itself (dom-2, dom-3)."""
    contained = dicts(view.resource.get("contained"))
    if not contained:
        return
    others = {key: value for key, value in view.resource.items() if key != "contained"}
    named = set(_local_references([others, *contained]))
    for at, one in enumerate(contained):
        if one.get("contained"):
            yield f"contained[{at}]", "contains resources itself"
        if f"#{one.get('id')}" not in named:
            yield f"contained[{at}]", "nothing refers to it"


def _local_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str) and reference.startswith("#"):
            yield reference
        for inner in value.values():
            yield from _local_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _local_references(inner)


def s15_release(view: View) -> Iterator[Problem]:
    """Every element has the form of this release."""
    yield from _shapes(view.resource, "study", view.release, "")
    for at, series in enumerate(view.series):
        yield from _shapes(series, "series", view.release, f"series[{at}].")


_FORMS: Mapping[str, frozenset[str]] = {
    "Coding": frozenset({"coding", "text", "concept", "reference"}),
    "CodeableConcept": frozenset({"system", "code", "display", "concept", "reference"}),
    "CodeableReference": frozenset({"coding", "text", "system", "code", "display"}),
}
"""Keys that another form would have."""


def _shapes(holder: Json, level: str, release: Release, path: str) -> Iterator[Problem]:
    for name, element in ELEMENTS[level].items():
        if name not in holder:
            continue
        kind = element.types.get(release)
        if kind is None:
            yield f"{path}{name}", f"is no element of {release}"
            continue
        value = holder[name]
        for one in dicts(value) if isinstance(value, list) else dicts([value]):
            if _FORMS.get(kind, frozenset()) & one.keys():
                yield f"{path}{name}", f"is not a {kind}, as {release} wants it"


def s16_order_of_times(view: View) -> Iterator[Problem]:
    """No series began before its study."""
    study = view.resource.get("started")
    for at, series in enumerate(view.series):
        started = series.get("started")
        if _is_date_time(study) and _is_date_time(started) and _before(started, study):
            yield f"series[{at}].started", "is before the start of the study"


def _is_date_time(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _DATE_TIME.fullmatch(value) is not None


def _before(one: str, other: str) -> bool:
    """Compare as exactly as both allow."""
    if "T" in one and "T" in other:
        try:
            return datetime.fromisoformat(_plain(one)) < datetime.fromisoformat(_plain(other))
        except ValueError:
            return False
    shorter = min(len(one[:10]), len(other[:10]))
    return one[:shorter] < other[:shorter]


def _plain(value: str) -> str:
    """Write second 60 as 59, since Python has no leap second."""
    return f"{value[:17]}59{value[19:]}" if value[17:19] == "60" else value
