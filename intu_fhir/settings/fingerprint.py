"""Whether the configuration is still the one that a process has read when it started."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from intu_fhir.settings.load import CHANNEL_FILE
from intu_fhir.settings.schema import Configuration


def fingerprint(configuration: Configuration) -> str:
    """Return what changes with the content of its files, and not with their times.

    Secrets that are given otherwise, such as by the environment, are not looked at.
    """
    found = hashlib.sha256()
    for file in sorted(set(_files(configuration))):
        with contextlib.suppress(OSError):
            content = file.read_bytes()
            found.update(f"{file}\0{len(content)}\0".encode())
            found.update(content)
    return found.hexdigest()


def _files(configuration: Configuration) -> Iterator[Path]:
    yield from configuration.folder.glob("[!.]*.yaml")
    yield from configuration.folder.glob(f"channels/[!.]*/{CHANNEL_FILE}")
    for channel in configuration.channels:
        yield from (file for file in (channel.mapping, channel.transformer) if file is not None)
