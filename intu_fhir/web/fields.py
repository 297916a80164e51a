"""Fields of forms and addresses, as values."""

from __future__ import annotations

import re

from starlette.requests import Request

MAX_LENGTH = 4_096


_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


def one(request: Request, name: str, *, longest: int = MAX_LENGTH) -> str:
    """Return a field of the form that was sent; empty where it is not there."""
    values: dict[str, list[str]] = request.state.fields
    return _storable(next(iter(values.get(name, ())), ""))[:longest]


def several(request: Request, name: str) -> list[str]:
    """Return all values of a field of the form that was sent."""
    values: dict[str, list[str]] = request.state.fields
    return values.get(name, [])


def asked(request: Request, name: str) -> str:
    """Return a field of the form that was sent, or else of the address, without blanks around."""
    found = one(request, name) or _storable(request.query_params.get(name, ""))
    return found[:MAX_LENGTH].strip()


def number(text: str) -> int | None:
    """Return a whole number that a database key can have, or None."""
    return int(text) if _NUMBER.fullmatch(text) else None


def _storable(text: str) -> str:
    """Return text that both databases can compare: no NUL, nothing that is not Unicode."""
    return text.replace("\0", "").encode(errors="replace").decode()
