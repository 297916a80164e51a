"""What a converter sees: the study, series or instance it works for, and the site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from intu_fhir.build.datatypes import clean_text, first_value
from intu_fhir.build.notes import Notes
from intu_fhir.mappings.tables import CodingScheme, Tables
from intu_fhir.model.study import HeaderGroup, Instance, Series, Study
from intu_fhir.model.values import Values, items, text
from intu_fhir.settings.schema import Identifiers


@dataclass(frozen=True)
class ImageService:
    """The Endpoint from which images of this site can be had (FHIR Endpoint).

    Args:
        reference: literal reference at the server, such as ``Endpoint/pacs``; else
        system, value: its identifier.
    """

    reference: str = ""
    system: str = ""
    value: str = ""


@dataclass(frozen=True)
class BuildContext:
    """What a build needs to know of the site.

    Args:
        time_zone: IANA zone of times whose header names none.
        max_instances: instances are counted but not listed above this.
        max_body_bytes: the same for the size of the resource as JSON.
        image_service: where images can be had; None = no endpoint.
        today: dates after tomorrow are noted as implausible; None = not judged.
    """

    time_zone: str | None = None
    identifiers: Identifiers = field(default_factory=Identifiers)
    max_instances: int = 5_000
    max_body_bytes: int = 1_000_000
    image_service: ImageService | None = None
    today: date | None = None

    @cached_property
    def zone(self) -> ZoneInfo | None:
        """The configured zone with its rules."""
        return ZoneInfo(self.time_zone) if self.time_zone else None


class Source:
    """One study, series or instance on its way into the resource.

    Args:
        groups: the distinct headers below it, for attributes of which every value counts.
    """

    __slots__ = (
        "context",
        "groups",
        "instance",
        "level",
        "notes",
        "schemes",
        "series",
        "status",
        "study",
        "tables",
        "uid",
        "values",
    )

    def __init__(
        self,
        level: str,
        study: Study,
        tables: Tables,
        context: BuildContext,
        notes: Notes,
        *,
        series: Series | None = None,
        schemes: Mapping[str, CodingScheme] | None = None,
    ) -> None:
        self.level, self.study, self.series = level, study, series
        self.tables, self.context, self.notes = tables, context, notes
        self.uid = series.uid if series else study.uid
        self.values: Values = series.values if series else study.values
        self.groups = series.groups if series else _all_groups(study)
        self.instance: Instance | None = None
        self.schemes = schemes or {}
        self.status = "available"

    def at(self, instance: Instance) -> None:
        """Look at the next instance; one source serves all instances of a series."""
        self.instance, self.uid, self.values = instance, instance.uid, instance.values

    def note(self, code: str, attribute: str) -> None:
        """Note what was wrong with an attribute here."""
        self.notes.add(code, self.level, self.uid, attribute)

    def text(self, path: str) -> str:
        """Return the first non-empty raw string at a path."""
        own = self.values.get(path)
        if type(own) is str and (found := own.strip(" \0")):  # as for most, in every instance
            return found
        return next(self.texts(path), "")

    def texts(self, path: str) -> Iterator[str]:
        """Give the raw strings at a path, inside items in their order.

        An attribute has one level only, so what an instance lacks may stand with its series or
        study, and what a study lacks in the headers below it.
        """
        for values in self._scopes():
            found = [raw for inner, keyword in _ends(values, path) if (raw := text(inner, keyword))]
            if found:
                yield from found
                return

    def _scopes(self) -> Iterator[Values]:
        yield self.values
        if self.level == "instance" and self.series is not None:
            yield self.series.values
        if self.level == "study":
            yield from (group.values for group in self.groups)
        else:
            yield self.study.values

    def headers(self) -> Iterator[Values]:
        """Give the distinct headers here, or the merged values where there are none."""
        if self.level == "instance" or not self.groups:
            yield self.values
        for group in self.groups if self.level != "instance" else ():
            yield group.values

    def every_text(self, path: str) -> list[str]:
        """Return each distinct raw string at a path over all headers, the merged one first."""
        found = dict.fromkeys(self.texts(path))
        for header in self.headers():
            for values, keyword in _ends(header, path):
                if value := text(values, keyword):
                    found[value] = None
        return list(found)

    def every_item(self, path: str) -> list[Values]:
        """Return the items of a sequence over all headers, in their order."""
        return [
            item
            for header in self.headers()
            for values, keyword in _ends(header, path)
            for item in items(values, keyword)
        ]


def _all_groups(study: Study) -> tuple[HeaderGroup, ...]:
    return tuple(group for series in study.series for group in series.groups)


def _ends(values: Values, path: str) -> Iterator[tuple[Values, str]]:
    """Give the items that a path leads to, with the keyword to look up there."""
    if ":" in path or "." not in path:
        yield values, path
        return
    sequence, _, rest = path.partition(".")
    for item in items(values, sequence):
        yield from _ends(item, rest)


def value_at(source: Source, values: Values, keyword: str) -> str:
    """Return the clean first value of a single-valued attribute, noting what was wrong."""
    raw, more = first_value(values, keyword)
    if more:
        source.note("several_values", keyword)
    cleaned = clean_text(raw)
    if cleaned is None:
        source.note("damaged_text", keyword)
    return cleaned or ""


Convert: TypeAlias = Callable[[Source], Sequence[Any]]
"""Gives the values of an element: none, one, or as many as it repeats."""
