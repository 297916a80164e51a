"""What failures have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.model.cause import LONGEST_CAUSE, cause_of, remedy_of, sentence


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Study 1.2.840.1.5 is too large", "Study 1.2.840.9.7 is too large"),
        ("Image 2.25.1334642905720266 is refused", "Image 2.25.13697486 is refused"),
        ("The server refuses it (code a)", "The server refuses it (code b)"),
        ("No answer within 30 s", "No answer within 60 s"),
        ("No answer; look; given up after 3 tries", "No answer; look; given up after 12 tries"),
    ],
)
def test_failures_that_differ_in_a_detail_have_one_cause(one: str, other: str) -> None:
    """UIDs, numbers, tries and the far side's words do not make a cause of their own."""
    assert cause_of(one) == cause_of(other) != ""


def test_the_status_is_part_of_the_cause() -> None:
    """A refusal and an overload are two causes."""
    assert cause_of("HTTP 422: it is invalid") != cause_of("HTTP 503: it is invalid")


def test_the_remedy_is_read_back() -> None:
    """What the sentence says to do is found again, not what the far side said."""
    line = sentence("HTTP 403: not allowed", "scope; missing", "ask for the scope")
    assert remedy_of(line) == "ask for the scope"
    assert remedy_of(sentence("HTTP 500: broken", "a; b")) == ""
    objects = sentence(
        "HTTP 422: refused", "no", "mend what it objects to (its words), then replay"
    )
    assert remedy_of(objects) == "mend what it objects to, then replay"
    assert remedy_of("no connection to 127.0.0.1 port 9").startswith("see that it runs")


@given(st.text())
def test_any_text_has_a_short_cause(text: str) -> None:
    """Whatever a peer says, the cause is one short line."""
    cause = cause_of(text)
    assert len(cause) <= LONGEST_CAUSE
    assert "\n" not in cause
