"""Where the files are that ship with the program beside its code."""

from __future__ import annotations

from pathlib import Path

from intu_fhir.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parents[1]


def data_folder(name: str) -> Path:
    """Return the folder ``name`` (``migrations``, ``mappings``) of this installation.

    A wheel carries it inside the package; a checkout, also one installed to be edited, at its top.

    Raises:
        ConfigurationError: it is in neither place.
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise ConfigurationError(f"the folder {name} is not installed; install intu-fhir again")
