"""Examples of configuration say which file they are, so that they can be judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import blocks, name, pages, read

FILES = ("intu.yaml", "channel.yaml", "mapping", "prometheus.yml", "figures.yaml")
MAPPING = "extends: shipped"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_yaml_says_which_file_it_is(page: Path) -> None:
    """Each YAML block opens with a comment that names its file, or as a mapping does."""
    firsts = [block.text.partition("\n")[0] for block in blocks(read(page), "yaml")]
    silent = [line for line in firsts if not _names_a_file(line)]
    assert silent == []


def _names_a_file(line: str) -> bool:
    named = line.startswith("# ") and any(file in line for file in FILES)
    return named or line == MAPPING
