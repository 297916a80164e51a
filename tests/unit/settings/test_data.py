"""Where the files are that ship with the program."""

from __future__ import annotations

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.data import data_folder


@pytest.mark.parametrize(
    ("name", "file"), [("migrations", "env.py"), ("mappings", "attributes.yaml")]
)
def test_folder_is_found_in_a_checkout(name: str, file: str) -> None:
    """What stands outside of the package is found without being installed."""
    assert (data_folder(name) / file).is_file()


def test_missing_folder_is_named() -> None:
    """A folder that was not installed is named, with what to do."""
    with pytest.raises(ConfigurationError, match="folder recipes is not installed"):
        data_folder("recipes")
