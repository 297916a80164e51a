"""The configurations that pages show are ones that the program takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from intu_fhir.settings.schema import Channel, Site
from tests.docs.pages import Block, blocks, name, pages, read

_FILES = {"intu.yaml": Site, "channel.yaml": Channel}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_whole_files_are_valid(page: Path) -> None:
    """A YAML block that opens with the name of a configuration file is a valid one."""
    for block in blocks(read(page)):
        for file, model in _FILES.items():
            if _is(block, file):
                model.model_validate(yaml.safe_load(block.text) or {})


def _is(block: Block, file: str) -> bool:
    first = block.text.lstrip().partition("\n")[0]
    return block.language == "yaml" and first.startswith("#") and file in first
