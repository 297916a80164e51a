"""The defaults of a simulated site are what was measured, and the page says the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from intu_fhir.sizing.figures import Figures
from tests.support.data import REPOSITORY

RESULTS = REPOSITORY / "tests" / "benchmarks" / "results"
PAGE = REPOSITORY / "docs" / "explanation" / "sizing.md"
MOST_RESERVE = 1.5
"""Rounded up by more than this a default is a guess."""


def measured(page: str, row: str, column: int) -> float:
    """Return a number of a table: that of a column (the first is 0) in a row by its first cell."""
    for line in (RESULTS / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == row:
            return float(cells[column].replace(",", ""))
    raise AssertionError(f"{page} has no row {row}")


def a_study() -> float:
    """Return seconds to settle and build one of 40 images."""
    return sum(1 / measured("scale.md", f"studies {what}", 1) for what in ("settled", "built"))


def per_image() -> float:
    """Return what another image costs to build."""
    most, least = (measured("mapping.md", images, 1) for images in ("5000", "50"))
    return (most - least) / 4_950 / 1_000


def described() -> float:
    """Return the reading of a real header, and the writing of its row."""
    reading = "complete header read, real images of many makers"
    return cost(reading) + 1 / measured("scale.md", "complete headers", 1)


def cost(what: str) -> float:
    """Return processor seconds for each image."""
    return measured("worker_costs.md", what, 1) / 1_000


@pytest.mark.parametrize(
    ("name", "default", "found"),
    [
        ("a study", lambda w: w.seconds_per_study + 40 * w.seconds_per_image, a_study),
        ("an image", lambda w: w.seconds_per_image, per_image),
        ("its header", lambda w: w.describe_seconds_per_image, described),
        ("sending", lambda w: w.send_seconds_per_image, lambda: cost("sent to a PACS")),
    ],
)
def test_a_worker_is_not_better_than_measured(name: str, default: Any, found: Any) -> None:
    """What workers do takes as long by default as it took, or somewhat longer."""
    assert found() <= default(Figures().workers) <= MOST_RESERVE * found(), name


def test_a_receiver_is_not_better_than_measured() -> None:
    """Receivers take no more by default than one did on PostgreSQL, nor do they upload faster."""
    ours = measured("receiver.md", "intu-fhir, PostgreSQL", 3)
    receivers = Figures().receivers
    assert ours / MOST_RESERVE <= receivers.images_per_second <= ours
    upload = cost("uploaded and read back")
    assert upload <= receivers.upload_seconds_per_image <= MOST_RESERVE * upload


def test_a_pacs_is_not_faster_than_what_sends_to_it() -> None:
    """An image needs as long by default as one sent to a PACS that keeps nothing."""
    pacs = Figures().destinations["pacs"].seconds_per_image
    fastest = 1 / measured("forwarding.md", "CT", 2)
    assert fastest <= pacs <= MOST_RESERVE * fastest


def test_the_page_shows_the_defaults() -> None:
    """Each figure that the page on sizing gives as a default is the one of the program."""
    table = PAGE.read_text("utf-8").partition("| Figure | Default |")[2].partition("\n\n")[0]
    shown = re.findall(r"(?m)^\| `([\w.*]+)`.*? \| ([\d.,]+) \|", table)
    assert len(shown) >= 8
    for name, default in shown:
        assert float(default.replace(",", "")) == default_of(name), name


def default_of(name: str) -> float:
    """Return the default of a figure by its path; ``*`` is the destination it is there for."""
    one: Any = Figures()
    for part in name.split("."):
        place = "pacs" if name.endswith("per_image") else "ehr"
        one = one[place] if part == "*" else getattr(one, part)
    return float(one)
