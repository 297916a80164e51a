"""Judges whether a site can run: everything that a start would need, asked without changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from intu_fhir.build.examples import run_examples
from intu_fhir.build.routes import require_staged
from intu_fhir.build.transform import load_transformer
from intu_fhir.check.far_sides import check_destinations
from intu_fhir.check.ports import check_port, check_web
from intu_fhir.check.row import CheckRow
from intu_fhir.check.stores import (
    check_bucket,
    check_configuration,
    check_database,
    check_files,
    check_identifiers,
    check_reader,
    check_staged,
)
from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings import Mapping as StudyMapping
from intu_fhir.mappings import attributes_of, load_mapping, of_another_release
from intu_fhir.observe.clock import Clock
from intu_fhir.receive.descriptors import require_descriptors
from intu_fhir.receive.tls import server_context
from intu_fhir.settings.mistakes import each_mistake
from intu_fhir.settings.schema import (
    AnyDestination,
    Channel,
    Configuration,
    FhirDestination,
    Receiver,
)


def check(
    configuration: Configuration, clock: Clock, *, offline: bool = False
) -> Iterator[CheckRow]:
    """Yield what was looked at, one by one; destinations are asked side by side.

    Args:
        offline: leave the destinations alone.
    """
    yield check_configuration(configuration)
    yield from _descriptors(configuration.site.receiver)
    yield check_database(configuration.site)
    files = check_files(configuration)
    yield files
    if not isinstance(configuration.site.files, Path) and not offline:
        yield check_bucket(configuration.site.files, configuration.site.object_store)
    for channel in configuration.channels:
        wanted = {name: configuration.site.destinations[name] for name in channel.destinations}
        yield from _channel(channel, wanted, configuration.site.files_folder, knows_files=files.ok)
    yield from check_staged(configuration.site, clock)
    yield from check_web(configuration.site.web, configuration.site.files_folder)
    yield from check_reader(configuration.site)
    yield from check_identifiers(configuration.site)
    if not offline:
        yield from check_destinations(configuration, clock)


def _descriptors(limits: Receiver) -> Iterator[CheckRow]:
    """Say whether more associations are configured than the system gives descriptors for."""
    try:
        require_descriptors(limits)
    except ConfigurationError as error:
        detail, _, remedy = str(error).partition("; ")
        yield CheckRow("receiver", "limits", False, detail, remedy)


def _channel(
    channel: Channel,
    destinations: Mapping[str, AnyDestination],
    files: Path,
    *,
    knows_files: bool,
) -> Iterator[CheckRow]:
    row = partial(CheckRow, "channel", channel.id)
    if not channel.enabled:
        yield row(True, "disabled")
        return
    try:
        mapping = load_mapping(channel.mapping)
        run_examples(mapping)
        require_staged(destinations, attributes_of([mapping]).levels)
        if channel.transformer is not None:
            load_transformer(channel.transformer)
        if channel.source.tls is not None:
            server_context(channel.source.tls)
    except ConfigurationError as error:
        for mistake in each_mistake(error):
            detail, _, remedy = str(mistake).partition("; ")
            yield row(False, detail, remedy)
        return
    yield check_port(channel.source, files, row, knows_files=knows_files)
    yield from _without_effect(mapping, destinations, row)


def _without_effect(
    mapping: StudyMapping, destinations: Mapping[str, AnyDestination], row: Callable[..., CheckRow]
) -> Iterator[CheckRow]:
    """Say which rules of a site's own mapping a destination of another release never sees."""
    file = mapping.file.name if mapping.file else ""
    for name, destination in destinations.items():
        if isinstance(destination, FhirDestination):
            for element, other in of_another_release(mapping, destination.release):
                yield row(
                    True,
                    f"{file}: study.{element} is no element of {destination.release.upper()}, "
                    f"which {name} takes",
                    f"write the same rules under study.{other}, or nothing where the shipped "
                    "one will do",
                )
