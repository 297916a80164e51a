"""Collects what was noticed while a header was read, without repeating itself."""

from __future__ import annotations

from intu_fhir.model.finding import Finding, Severity
from intu_fhir.stage.dictionary import keyword_of

MAX_FINDINGS = 100

MESSAGES = {
    "unknown_character_set": "The character set is not a defined term; other letters are replaced",
    "undecodable_text": "Text does not follow the declared character set, or holds NUL",
    "invalid_number": "Not a valid number; kept as text",
    "not_a_number": "A floating point value is not finite; kept as text",
    "length_not_multiple": "The length does not fit the value representation",
    "too_large": "Left out of the staged header for its size; read it from the stored file",
    "repeated": "An element occurs more than once; the last one counts",
    "out_of_order": "Elements do not stand in ascending order (PS3.5 7.1)",
    "other_encoding": "The data set is not encoded as its transfer syntax says",
    "incomplete": "The header could be read in part only; inspect the stored file",
}
"""What each code means; the message of a finding is this and the attribute, never a value."""


class Remarks:
    """Findings of one header, at most one per code and attribute."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], Finding] = {}

    def add(self, code: str, tag: int = 0, *, severity: Severity = Severity.WARNING) -> None:
        """Note ``code`` about the element ``tag``, 0 for the data set as a whole."""
        if (code, tag) in self._seen or len(self._seen) >= MAX_FINDINGS:
            return
        name = (keyword_of(tag) or f"{tag:08X}") if tag else ""
        message = f"{name}: {MESSAGES[code]}" if name else MESSAGES[code]
        self._seen[code, tag] = Finding(severity, code, message, level="instance", attribute=name)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noted, in order."""
        return tuple(self._seen.values())
