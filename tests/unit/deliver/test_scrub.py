"""What is taken out of a far side's words."""

from __future__ import annotations

import pytest

from intu_fhir.deliver.scrub import MAX_LENGTH, scrub

JWT = "eyJhbGciOiJSUzM4NCJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "canary"),
    [
        ("header was Bearer abcDEF123456", "abcDEF123456"),
        ("header was BASIC dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        (f"assertion {JWT} expired", "eyJ"),
        ("client_secret=canary123&x=1", "canary123"),
        ('{"access_token": "canary123"}', "canary123"),
        ("password: canary123", "canary123"),
        ("see https://user:canary123@host/x", "canary123"),
    ],
)
def test_hides_secrets_that_nobody_named(text: str, canary: str) -> None:
    """Tokens, passwords and assertions are recognised by their form."""
    cleaned = scrub(text)
    assert canary not in cleaned
    assert "[hidden]" in cleaned


def test_hides_named_values_whatever_their_case() -> None:
    """Values that are given are hidden, the longest first."""
    cleaned = scrub("no patient SAMPLE^SAM or Sample", ["sample", "Sample^Sam"])
    assert cleaned == "no patient [hidden] or [hidden]"


def test_leaves_short_values_alone() -> None:
    """A value of some letters would hide half of any text."""
    assert scrub("the element is unknown", ["he", ""]) == "the element is unknown"


def test_is_one_printable_line_of_bounded_length() -> None:
    """What a far side says cannot forge lines, move a cursor or fill a table."""
    assert scrub("a\r\nb\x1b[31m\0c\u202ed") == "a b [31m c d"
    assert len(scrub("x " * 100_000)) <= MAX_LENGTH
