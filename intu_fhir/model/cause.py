"""What went wrong, in one line, and what of it is true of many studies.

``sentence`` is how an outcome is written; ``cause_of`` and ``remedy_of`` read it again, so that a
hundred failures with one reason can be shown as one.
"""

from __future__ import annotations

import re

LONGEST_CAUSE = 200
_SAID = " ("
_REMEDY = "; "
_KEPT = r"\bat \S+:\d+\b|\bhttps?://[^\s/:;,()]+(?::\d+)?|\btakes no [^:;]{1,150}:"
"""Where a destination is, and what it does not take: without these nobody knows what to do."""
_UID = r"\b(?:\d+(?:\.\d+){3,}|2\.25\.\d+)\b"
"""2.25 and one number: a UUID as a UID (PS3.5 B.2), which many senders make."""
_QUOTED = r"'[^']*'|\"[^\"]*\""
_NAMED = r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[A-Za-z]+/[A-Za-z0-9.-]+(?:/[^\s;,]*)?"
_NUMBER = r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])"
_OF_ONE = re.compile("|".join((f"(?P<kept>{_KEPT})", _UID, _QUOTED, _NAMED, _NUMBER)))
_STATUS = re.compile(r"HTTP \d{3}\b|[0-9A-F]{4}(?=: )")
"""HTTP, or C-STORE (PS3.7 annex C)."""
_TRIES = re.compile(r"; given up after \d+ tries$")


def sentence(meaning: str, said: str = "", remedy: str = "") -> str:
    """Put what happened, the far side's words and the remedy into one line.

    Brackets that those words do not close, or have not opened, become square ones: else the rest of
    the words would be taken for ours, which go into the log.
    """
    words = meaning + (f"{_SAID}{_paired(said)})" if said else "")
    return f"{words}{_REMEDY}{remedy}" if remedy else words


def _paired(said: str) -> str:
    paired: list[str] = []
    opened: list[int] = []
    for char in said:
        if char == "(":
            opened.append(len(paired))
        elif char == ")" and not opened:
            char = "]"
        elif char == ")":
            opened.pop()
        paired.append(char)
    for place in opened:
        paired[place] = "["
    return "".join(paired)


def remedy_of(detail: str) -> str:
    """Return what a failure's line says to do, or nothing."""
    plain = _without_brackets(_TRIES.sub("", detail))
    if _REMEDY in plain:
        return _BEFORE_COMMA.sub("", plain.rpartition(_REMEDY)[2].strip())
    return _UNREACHED if "no connection" in plain else ""


_BEFORE_COMMA = re.compile(r"\s+(?=[,.;])")
_UNREACHED = "see that it runs, and that its address and port are right"


def reason_of(detail: str) -> str:
    """Return a failure's line without what to do."""
    words = _TRIES.sub("", detail)
    for found in reversed(list(re.finditer(_REMEDY, words))):
        before = words[: found.start()]
        if _without_brackets(before + _REMEDY).endswith(_REMEDY):
            return before
    return words


def cause_of(detail: str) -> str:
    """Return what a failure's line has in common with others of the same cause.

    The far side's words in brackets, UIDs, ids, quotations and numbers are left out, except the
    status that a line begins with, where the destination is, and what it does not take.
    """
    plain = _without_brackets(_TRIES.sub("", detail))
    head = _BEFORE_COMMA.sub("", plain.rpartition(_REMEDY)[0] or plain)
    status = _STATUS.match(head)
    rest = head[status.end() :] if status else head
    rest = _OF_ONE.sub(lambda found: found["kept"] or "…", rest)
    return " ".join(((status[0] if status else "") + rest).split())[:LONGEST_CAUSE]


def _without_brackets(text: str) -> str:
    kept, depth = [], 0
    for char in text:
        depth += char == "("
        if not depth:
            kept.append(char)
        depth = max(depth - (char == ")"), 0)
    return "".join(kept)
