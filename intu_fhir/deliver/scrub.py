"""Takes secrets and patient values out of what a far side says, before anybody keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LENGTH = 2_000
_HIDDEN = "[hidden]"
_SHORTEST = 4
_PATTERNS = (
    re.compile(r"\b(?:bearer|basic|digest)\s+[A-Za-z0-9+/._~=-]{6,}", re.IGNORECASE),
    re.compile(r"\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,4}"),
    re.compile(
        r"""(?:access_token|refresh_token|client_secret|client_assertion|password|api[_-]?key)"""
        r"""["']?\s*[=:]\s*["']?[^\s"'&,;]+""",
        re.IGNORECASE,
    ),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return one printable line without secrets, cut to ``MAX_LENGTH`` characters.

    Args:
        secrets: exact values to hide: credentials, tokens, a patient's name and identifiers.
            Values under four characters would hide half of any text and are left alone.
    """
    text = text[: 4 * MAX_LENGTH]
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True):
        text = re.sub(re.escape(secret), _HIDDEN, text, flags=re.IGNORECASE)
    for pattern in _PATTERNS:
        text = pattern.sub(_HIDDEN, text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 3] + "..."
