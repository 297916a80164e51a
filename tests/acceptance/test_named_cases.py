"""Every case of the mapping that has a name has a test that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
NAMED = re.compile(r"\bdef test_\w+|\([^()\n]*[CES]\d\d[^()\n]*\)|\(\"S\d\d\"", re.ASCII)
CASE = re.compile(r"(?:^|[^A-Za-z0-9])([CESces]\d\d)(?![0-9A-Za-z])", re.ASCII)

CONVERTER_MISTAKES = [f"C{number:02}" for number in range(1, 37)]
SEMANTIC_CHECKS = [f"S{number:02}" for number in range(1, 22)]
EDGE_CASES = [f"E{number:02}" for number in range(1, 41)]


def _tested() -> set[str]:
    """Return the names in names of tests, in brackets in their first lines, and in tables."""
    found: set[str] = set()
    for file in TESTS.rglob("test_*.py"):
        for place in NAMED.findall(file.read_text(encoding="utf-8")):
            found |= {name.upper() for name in CASE.findall(place.replace("_", "-"))}
    return found


@pytest.mark.parametrize("cases", [CONVERTER_MISTAKES, SEMANTIC_CHECKS, EDGE_CASES], ids="CSE")
def test_every_named_case_is_tested(cases: list[str]) -> None:
    """No converter mistake, semantic check or edge case is without its test."""
    assert set(cases) - _tested() == set()
