"""Paths of a configuration file, made absolute from the folder the file stands in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from intu_fhir.settings.schema import Settings
from intu_fhir.settings.yaml_lines import Location

S = TypeVar("S", bound=Settings)
_SQLITE = "sqlite:///"


def absolute_paths(section: S, folder: Path) -> S:
    """Return ``section`` with every path in it absolute, ``~`` being the home folder."""
    changed = {
        name: _absolute(getattr(section, name), folder) for name in type(section).model_fields
    }
    # Only what the file says counts as set, so that the section can be written out again.
    return section.model_copy(
        update={name: value for name, value in changed.items() if value != getattr(section, name)}
    )


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return _joined(folder, value.expanduser())
    if isinstance(value, Settings):
        return absolute_paths(value, folder)
    if isinstance(value, tuple):
        return tuple(_absolute(item, folder) for item in value)
    if isinstance(value, dict):
        return {key: _absolute(item, folder) for key, item in value.items()}
    return value


def _joined(folder: Path, path: str | Path) -> Path:
    # Symbolic links stay: mounted secrets are links that change while we run.
    return Path(os.path.abspath(folder / path))


def absolute_sqlite(url: str, folder: Path) -> str:
    """Make the file of an SQLite URL absolute; other URLs stay as they are."""
    scheme, slashes, rest = url.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not slashes:
        return url
    name, question, query = rest.partition("?")
    return f"{scheme}:///{_joined(folder, name)}{question}{query}"


def files_in(section: Settings, location: Location = ()) -> Iterator[tuple[Location, Path]]:
    """Yield every path of ``section`` with its place."""
    for name in type(section).model_fields:
        yield from _files(getattr(section, name), (*location, name))


def _files(value: Any, location: Location) -> Iterator[tuple[Location, Path]]:
    if isinstance(value, Path):
        yield location, value
    elif isinstance(value, Settings):
        yield from files_in(value, location)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _files(item, (*location, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _files(item, (*location, key))
