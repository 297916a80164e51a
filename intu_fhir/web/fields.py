"""Fields of forms and addresses, as values."""

from __future__ import annotations

from starlette.requests import Request

MAX_LENGTH = 4_096


def one(request: Request, name: str, *, longest: int = MAX_LENGTH) -> str:
    """Return a field of the form that was sent; empty where it is not there."""
    values: dict[str, list[str]] = request.state.fields
    return next(iter(values.get(name, ())), "")[:longest]


def several(request: Request, name: str) -> list[str]:
    """Return all values of a field of the form that was sent."""
    values: dict[str, list[str]] = request.state.fields
    return values.get(name, [])


def asked(request: Request, name: str) -> str:
    """Return a field of the form that was sent, or else of the address."""
    return one(request, name) or request.query_params.get(name, "")[:MAX_LENGTH]
