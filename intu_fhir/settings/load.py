"""Read the configuration folder of a site: ``intu.yaml`` and ``channels/*/channel.yaml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.cross_checks import cross_mistakes
from intu_fhir.settings.mistakes import raise_mistakes, validation_mistakes
from intu_fhir.settings.paths import absolute_paths, absolute_sqlite
from intu_fhir.settings.schema import Channel, Configuration, Settings, Site
from intu_fhir.settings.secrets import resolve_references
from intu_fhir.settings.yaml_lines import Document, load_with_lines

SITE_FILE = "intu.yaml"
CHANNEL_FILE = "channel.yaml"

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """One file that obeys the schema, with its text for messages."""

    section: S
    document: Document


def load_configuration(
    folder_or_file: Path,
    environment: Mapping[str, str] | None = None,
    *,
    without: frozenset[str] = frozenset(),
) -> Configuration:
    """Load and judge the whole configuration of a site.

    Args:
        folder_or_file: the folder that holds ``intu.yaml``, or that file.
        environment: where ``${env:NAME}`` looks, by default the process's own environment.
        without: keys of ``intu.yaml`` whose secrets are not needed, and may be missing.

    Raises:
        ConfigurationError: something is wrong; every mistake found is told, one per line, with
            file, line, key and remedy.
    """
    environment = os.environ if environment is None else environment
    file = _site_file(folder_or_file)
    mistakes: list[ConfigurationError] = []
    site = _load(file, Site, environment, mistakes, without)
    channels = [
        channel
        for path in _channel_files(file.parent, mistakes)
        if (channel := _load(path, Channel, environment, mistakes)) is not None
    ]
    mistakes += cross_mistakes(
        (site.section, site.document) if site else None,
        [(channel.section, channel.document) for channel in channels],
    )
    raise_mistakes(mistakes)
    if site is None:  # a site that does not load is a mistake, raised above
        raise ConfigurationError("cannot be loaded", file=str(file))
    return _assemble(file.parent, site.section, [channel.section for channel in channels])


def _assemble(folder: Path, site: Site, channels: list[Channel]) -> Configuration:
    return Configuration(
        folder=folder,
        site=site,
        channels=tuple(sorted(channels, key=lambda channel: channel.id)),
    )


def _site_file(folder_or_file: Path) -> Path:
    path = folder_or_file.expanduser()
    if path.is_file():
        return _named_file(path)
    file = path.resolve() / SITE_FILE
    if file.is_file():
        return file
    hint = " (found intu.yml; rename it)" if file.with_suffix(".yml").is_file() else ""
    raise ConfigurationError(
        f"no {SITE_FILE} here{hint}; run `intu-fhir init {folder_or_file}` or name the folder "
        "with --config",
        file=str(folder_or_file),
    )


def _named_file(path: Path) -> Path:
    """Return the file that is named in place of its folder; a link stands where it stands.

    Further processes, and Airflow, are told the folder.
    """
    file = path.absolute()
    if file.name != SITE_FILE:
        raise ConfigurationError(
            f"not called {SITE_FILE}; move it into a folder of its own, as {SITE_FILE}",
            file=str(path),
        )
    return file.parent.resolve() / file.name


def _channel_files(folder: Path, mistakes: list[ConfigurationError]) -> list[Path]:
    """Find the channel files; a misnamed one is a mistake, since it would be ignored."""
    found = []
    for place in sorted((folder / "channels").glob("[!.]*/")):
        if (place / CHANNEL_FILE).is_file():
            found.append(place / CHANNEL_FILE)
        elif others := sorted([*place.glob("channel*.yml"), *place.glob("channel*.yaml")]):
            mistakes.append(
                ConfigurationError(f"would be ignored; name it {CHANNEL_FILE}", file=str(others[0]))
            )
    for stray in sorted((folder / "channels").glob("[!.]*.y*ml")):
        mistakes.append(
            ConfigurationError(
                f"would be ignored; move it to channels/{stray.stem}/{CHANNEL_FILE}",
                file=str(stray),
            )
        )
    return found


def _load(
    path: Path,
    model: type[S],
    environment: Mapping[str, str],
    mistakes: list[ConfigurationError],
    without: frozenset[str] = frozenset(),
) -> Loaded[S] | None:
    try:
        document = load_with_lines(path)
    except ConfigurationError as error:
        mistakes.append(error)
        return None
    document, hidden, unresolved = resolve_references(document, environment, without=without)
    if unresolved:
        mistakes += unresolved
        return None
    try:
        section = model.model_validate(document.value)
    except ValidationError as error:
        if without:  # what stands for a missing secret may be what is wrong
            return _load(path, model, environment, mistakes)
        mistakes += validation_mistakes(error, model, document, hidden)
        return None
    return Loaded(_located(section, path.parent), document)


def _located(section: S, folder: Path) -> S:
    section = absolute_paths(section, folder)
    database: Any = getattr(section, "database", None)
    if isinstance(database, str):
        return section.model_copy(update={"database": absolute_sqlite(database, folder)})
    return section
