"""What failures have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.model.cause import LONGEST_CAUSE, cause_of, reason_of, remedy_of, sentence


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Study 1.2.840.1.5 is too large", "Study 1.2.840.9.7 is too large"),
        ("Image 2.25.1334642905720266 is refused", "Image 2.25.13697486 is refused"),
        ("The server refuses it (code a)", "The server refuses it (code b)"),
        ("No answer within 30 s", "No answer within 60 s"),
        ("C000: not understood (no; 1 of 5, the first is 1.2.3)", "C000: not understood (so)"),
        (
            "The PACS aborted (A-ABORT 0/0), with instance 1.2.3.4 in hand",
            "The PACS aborted, with instance 1.2.3.5 in hand",
        ),
        ("No answer; look; given up after 3 tries", "No answer; look; given up after 12 tries"),
    ],
)
def test_failures_that_differ_in_a_detail_have_one_cause(one: str, other: str) -> None:
    """UIDs, numbers, tries and the far side's words do not make a cause of their own."""
    assert cause_of(one) == cause_of(other) != ""


def test_the_status_is_part_of_the_cause() -> None:
    """A refusal and an overload are two causes."""
    assert cause_of("HTTP 422: it is invalid") != cause_of("HTTP 503: it is invalid")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "the PACS takes no CT Image Storage: SOP class not supported (2 of 3, the first is "
            "1.2.3.4); have it enabled",
            "the PACS takes no CT Image Storage: SOP class not supported",
        ),
        (
            "the PACS takes no 12-lead ECG Waveform Storage in MPEG-4 AVC/H.264: result 9",
            "the PACS takes no 12-lead ECG Waveform Storage in MPEG-4 AVC/H.264: result …",
        ),
        ("PACS at 10.0.0.7:104: no answer", "PACS at 10.0.0.7:104: no answer"),
        (
            "no connection to http://10.0.0.7:8080: Connection refused",
            "no connection to http://10.0.0.7:8080: Connection refused",
        ),
        (
            "aborted (A-ABORT 0/0), with instance 1.2.3.4 in hand",
            "aborted, with instance … in hand",
        ),
        ("0122: refused (2 of 3)", "0122: refused"),
    ],
)
def test_a_cause_says_what_is_needed_to_act(line: str, cause: str) -> None:
    """What is not taken, by name, and where the destination is stay; its grammar is right."""
    assert cause_of(line) == cause


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("refused (a; b); mend it (or not), then replay", "refused (a; b)"),
        ("refused (a; b)", "refused (a; b)"),
        ("refused; mend it; given up after 3 tries", "refused"),
        ("a; b; mend it", "a; b"),
    ],
)
def test_the_reason_is_what_stands_before_the_remedy(line: str, reason: str) -> None:
    """Nothing of what the far side said is cut off with what to do."""
    assert reason_of(line) == reason


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


@given(st.text(st.sampled_from("()a; 1"), min_size=1))
def test_what_the_far_side_said_is_in_no_cause(said: str) -> None:
    """Whatever brackets it has: a cause goes into the log, and its words may name a patient."""
    line = sentence("HTTP 422: refused", said, "mend it")
    assert cause_of(line) == "HTTP 422: refused"
    assert remedy_of(line) == "mend it"


@given(st.text())
def test_any_text_has_a_short_cause(text: str) -> None:
    """Whatever a peer says, the cause is one short line."""
    cause = cause_of(text)
    assert len(cause) <= LONGEST_CAUSE
    assert "\n" not in cause
