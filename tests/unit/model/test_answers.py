"""A destination's answer as people read it."""

from __future__ import annotations

import pytest

from intu_fhir.model.answers import status_beside


@pytest.mark.parametrize(
    ("status", "words", "shown"),
    [
        ("404", "HTTP 404: the server refuses the request", ""),
        ("no answer", "no answer within 30 s", ""),
        ("201", "announced as registered", "201"),
        ("C000", "1 of 5 instances not taken; the first is 1.2: C000 odd", "C000"),
        ("200", "", "200"),
        ("", "internal error", ""),
    ],
)
def test_a_status_is_said_once(status: str, words: str, shown: str) -> None:
    """Words that begin with the status stand alone; all others stand behind it."""
    assert status_beside(status, words) == shown
