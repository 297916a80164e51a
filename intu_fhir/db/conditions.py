"""Conditions that a reader may or may not ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement, func

LIMIT = 50
"""Rows of a page where nothing else is asked for."""


def given(condition: Callable[[Any], ColumnElement[bool]], value: Any) -> list[ColumnElement[bool]]:
    """Return the condition on ``value``, or nothing where the value is None."""
    return [] if value is None else [condition(value)]


def wildcards(text: str) -> str:
    """Turn ``*`` and ``?`` (PS3.4 C.2.2.2.4) into SQL's; what SQL would take for one is escaped."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text.replace("*", "%").replace("?", "_")


def like_in_any_case(column: ColumnElement[Any], text: str, dialect: str) -> ColumnElement[bool]:
    """Return the condition that a column is like ``text``, whatever the case of its letters.

    ``lower`` knows the letters of ASCII alone on SQLite, and on PostgreSQL where the locale of the
    database is C. So other letters are looked for in both their cases.
    """
    lowered = func.lower(column)
    if text.isascii():
        return lowered.like(func.lower(wildcards(text)), escape="\\")
    if dialect == "sqlite":
        special = {"[": "[[]"}
        return lowered.op("GLOB")("".join(special.get(s) or _in_both_cases(s) for s in text))
    special = {"*": ".*", "?": ".", **{one: f"\\{one}" for one in "\\.^$+(){}|[]"}}
    whole = "".join(special.get(s) or _in_both_cases(s) for s in text)
    return lowered.op("~")(f"^{whole}$")  # LIKE has no classes


def _in_both_cases(sign: str) -> str:
    """Return a small letter, or a class of both cases of one that is beyond ASCII."""
    if sign.isascii():
        return sign.lower()
    cases = {one for one in (sign, sign.lower(), sign.upper()) if len(one) == 1}
    return f"[{''.join(sorted(cases))}]"


def has_wildcards(text: str) -> bool:
    """Tell whether ``text`` is a pattern."""
    return "*" in text or "?" in text


def all_of(*conditions: Iterable[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return every condition that was asked for."""
    return [condition for some in conditions for condition in some]
