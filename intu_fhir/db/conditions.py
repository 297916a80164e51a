"""Conditions that a reader may or may not ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement

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


def has_wildcards(text: str) -> bool:
    """Tell whether ``text`` is a pattern."""
    return "*" in text or "?" in text


def all_of(*conditions: Iterable[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return every condition that was asked for."""
    return [condition for some in conditions for condition in some]
