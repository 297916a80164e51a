"""Unique identifiers (PS3.5 9.1)."""

from __future__ import annotations

import re

MAX_LENGTH = 64
_UID = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_STRICT = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*", re.ASCII)


def is_uid(value: str) -> bool:
    """Say whether ``value`` can identify an instance: digits and dots, at most 64 characters.

    Leading zeros in a component break PS3.5 9.1 but are common and harmless: they pass here.
    """
    return len(value) <= MAX_LENGTH and _UID.fullmatch(value) is not None


def is_conformant_uid(value: str) -> bool:
    """Say whether ``value`` follows PS3.5 9.1 to the letter, leading zeros included."""
    return len(value) <= MAX_LENGTH and _STRICT.fullmatch(value) is not None
