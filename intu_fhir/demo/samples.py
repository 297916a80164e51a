"""Real sample studies that everyone has: pydicom's wheel carries them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom.data

from intu_fhir.errors import ConfigurationError

_FOLDER = "dicomdirtests"
"""Whole patients with several studies and series: CR, CT and MR."""


def sample_files() -> list[Path]:
    """Return the sample files, sorted by name.

    Raises:
        ConfigurationError: this pydicom came without them.
    """
    root = Path(pydicom.data.__file__).parent / "test_files" / _FOLDER
    files = sorted(_files(root))
    if not files:
        raise ConfigurationError(
            "this pydicom was installed without its sample files; "
            "name your own: intu-fhir demo FOLDER"
        )
    return files


def _files(root: Path) -> Iterator[Path]:
    """The instances below ``root``; a DICOMDIR lists them but is none."""
    for path in root.rglob("*"):
        if (
            path.is_file()
            and not path.name.upper().startswith(("DICOMDIR", "README"))
            and "." not in path.name
        ):
            yield path
