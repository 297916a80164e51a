"""How a value of a search is held against a column (PS3.4 C.2.2.2), on either database."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import sqlalchemy as sa

from intu_fhir.db.conditions import has_wildcards, like_in_any_case, wildcards

Kind: TypeAlias = Literal["text", "name", "number", "date", "time", "uid"]
Column: TypeAlias = sa.ColumnElement[Any]

_LAST = chr(0x10FFFF)
_ENDS = tuple(empty + more for empty in ("", "^", "^^", "^^^") for more in ("", "=*"))
"""What may stand behind a name that is matched whole: empty components, and other groups."""


def matches(column: Column, kind: Kind, value: str, dialect: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column matches a value.

    Args:
        value: not empty; dates and times are well formed.
    """
    if kind == "uid":
        return column.in_([uid for uid in value.replace(",", "\\").split("\\") if uid])
    if kind == "date":
        return _in_range(column, *_ends(value))
    if kind == "time":
        first, last = _ends(value)
        return _in_range(column, first, last and _to_its_end(last))
    if kind == "number":
        return column.in_({value, value.lstrip("0") or "0"})
    if kind == "name":
        return _name(column, value, dialect)
    return _text(column, value, dialect)


def _ends(value: str) -> tuple[str, str]:
    """Return both ends of a range; those of a single value are the same."""
    first, dash, last = value.partition("-")
    return (first, last) if dash else (value, value)


def _in_range(column: Column, first: str, last: str) -> sa.ColumnElement[bool]:
    """Compare as text, which orders dates and times; what has no value is in no range."""
    at_least = column >= first if first else column > ""
    return sa.and_(at_least, column <= last) if last else at_least


def _to_its_end(time: str) -> str:
    """Return the last moment of an hour, minute or second (PS3.5 6.2, TM)."""
    whole = time + "235959"[len(time) : 6] if len(time) < 6 else time
    return whole if "." in whole else f"{whole}.999999"


def _text(column: Column, value: str, dialect: str) -> sa.ColumnElement[bool]:
    if not has_wildcards(value):
        return column == value
    if dialect == "sqlite":
        # LIKE ignores case there, which only names may (PS3.4 C.2.2.2.4).
        return column.op("GLOB")(value.replace("[", "[[]"))
    return column.like(wildcards(value), escape="\\")


def _name(column: Column, value: str, dialect: str) -> sa.ColumnElement[bool]:
    """Match a whole name or its first group; a value beyond ASCII also the groups behind it."""
    ends, begin = ("",) if value.endswith("*") else _ENDS, value.rstrip("^")
    found = sa.or_(*(like_in_any_case(column, begin + end, dialect) for end in ends))
    if not value.isascii():
        return sa.or_(found, like_in_any_case(column, f"*={begin}*", dialect))
    beginning = value.partition("*")[0].partition("?")[0].rstrip("^")
    if dialect != "sqlite" or not beginning:
        return found
    # SQLite enters an index by a range alone; the last character there is ends it.
    lowered, first = sa.func.lower(column), sa.func.lower(beginning)
    return sa.and_(found, lowered >= first, lowered < first.concat(_LAST))
