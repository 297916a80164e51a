"""What is wrong with routes: names that lead nowhere, circles, attributes that do not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydicom.datadict import tag_for_keyword

from intu_fhir.errors import ConfigurationError
from intu_fhir.model.expression_text import parse_expression
from intu_fhir.settings.schema import AnyDestination, Channel, FhirDestination, Site
from intu_fhir.settings.yaml_lines import Document

NAMED_BY_US = frozenset({"CallingAETitle", "Channel", "NumberOfInstances", "NumberOfSeries"})
"""What ``where`` may name that is no DICOM keyword."""


def route_mistakes(
    site: Site, document: Document, channels: Sequence[tuple[Channel, Document]]
) -> list[ConfigurationError]:
    """Return what is wrong with ``only`` and ``after`` of the destinations."""
    return [
        *_unknown_names(site.destinations, document),
        *_circles(site.destinations, document),
        *_not_before(site.destinations, channels),
        *_unknown_channels(site.destinations, document, {c.id for c, _ in channels}),
        *_unknown_attributes(site.destinations, document),
        *_nothing_to_wait_for(site.destinations, document),
    ]


def _unknown_names(
    destinations: Mapping[str, AnyDestination], document: Document
) -> Iterator[ConfigurationError]:
    for name, destination in destinations.items():
        for index, other in enumerate(destination.after):
            if other not in destinations:
                yield document.mistake(
                    f"{other} is not a destination; use one of: {', '.join(destinations)}",
                    *("destinations", name, "after", index),
                )


def _circles(
    destinations: Mapping[str, AnyDestination], document: Document
) -> Iterator[ConfigurationError]:
    """Find each circle once, at the destination in it that the file names first."""
    told: set[str] = set()
    for name in destinations:
        way = _way_back(destinations, name)
        if way and not told & set(way):
            told |= set(way)
            yield document.mistake(
                f"goes in a circle: {' after '.join([*way, name])}; nobody would be first, remove "
                "one of them",
                *("destinations", name, "after"),
            )


def _way_back(destinations: Mapping[str, AnyDestination], name: str) -> list[str]:
    """Return the destinations from one back to itself by ``after``, or nothing."""
    waiting, came_from = [name], dict[str, str]()
    while waiting:
        here = waiting.pop()
        for other in destinations[here].after:
            if other == name:
                way = [here]
                while way[0] != name:
                    way.insert(0, came_from[way[0]])
                return way
            if other in destinations and other not in came_from:
                came_from[other] = here
                waiting.append(other)
    return []


def _not_before(
    destinations: Mapping[str, AnyDestination], channels: Sequence[tuple[Channel, Document]]
) -> Iterator[ConfigurationError]:
    for channel, document in channels:
        for index, name in enumerate(channel.destinations):
            after = destinations[name].after if name in destinations else ()
            for other in after:
                if other in destinations and other not in channel.destinations:
                    yield document.mistake(
                        f"{name} comes after {other}, which this channel does not send to; add "
                        f"{other} here, or take it out of `after` in intu.yaml",
                        *("destinations", index),
                    )


def _unknown_channels(
    destinations: Mapping[str, AnyDestination], document: Document, channels: set[str]
) -> Iterator[ConfigurationError]:
    for name, destination in destinations.items():
        wanted = destination.only.channels if destination.only else None
        for index, channel in enumerate(wanted or ()):
            if channel not in channels:
                yield document.mistake(
                    f"{channel} is not the id of a channel; use one of: {', '.join(channels)}",
                    *("destinations", name, "only", "channels", index),
                )


def _unknown_attributes(
    destinations: Mapping[str, AnyDestination], document: Document
) -> Iterator[ConfigurationError]:
    for name, destination in destinations.items():
        where = destination.only.where if destination.only else None
        for attribute in dict.fromkeys(parse_expression(where).names() if where else ()):
            private = ":" in attribute
            if not (private or attribute in NAMED_BY_US or tag_for_keyword(attribute)):
                yield document.mistake(
                    f"{attribute} is not a DICOM keyword; write one such as StudyDescription",
                    *("destinations", name, "only", "where"),
                )


def _nothing_to_wait_for(
    destinations: Mapping[str, AnyDestination], document: Document
) -> Iterator[ConfigurationError]:
    for name, destination in destinations.items():
        announces = isinstance(destination, FhirDestination) and destination.announce
        if announces and not destination.after:
            yield document.mistake(
                "it waits for nobody, so there is nothing to announce; name in `after` who has to "
                "have the images first, or remove announce",
                *("destinations", name, "announce"),
            )
