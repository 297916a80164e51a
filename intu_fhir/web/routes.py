"""What a page module offers: routes, each with the role it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.web.access.roles import Role


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the web page.

    Args:
        needs: the least role; None = everybody, without login.
        answer: makes the answer, in a thread of a bounded pool.
    """

    method: Literal["GET", "POST"]
    path: str
    needs: Role | None
    answer: Callable[[Request], Response]


def get(path: str, needs: Role | None, answer: Callable[[Request], Response]) -> Route:
    """Return a route that only looks."""
    return Route("GET", path, needs, answer)


def post(path: str, needs: Role | None, answer: Callable[[Request], Response]) -> Route:
    """Return a route that is sent a form."""
    return Route("POST", path, needs, answer)
