"""The figures that a page shows can be simulated as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.sizing.figures import load_figures
from intu_fhir.sizing.simulate import simulate
from tests.docs.pages import blocks, pages, read

FIGURES = [
    block.text
    for page in pages()
    for block in blocks(read(page), "yaml")
    if block.text.startswith("# figures.yaml")
]


@pytest.mark.parametrize("text", FIGURES)
def test_figures_of_a_page(text: str, tmp_path: Path) -> None:
    """They load without a mistake, and give a result for each destination."""
    file = tmp_path / "figures.yaml"
    file.write_text(text)
    figures = load_figures(file)
    assert {way.destination for way in simulate(figures).ways} == set(figures.destinations)


def test_there_are_some() -> None:
    """The page on sizing shows figures."""
    assert FIGURES
