"""What a route needs: the dependency that every route but the public ones has."""

from __future__ import annotations

import math

from fastapi import Depends, HTTPException, Request
from fastapi.params import Depends as Dependency

from intu_fhir.web.access.roles import Person, Role

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="intu-fhir"'}


class NeedsLogin(HTTPException):
    """Nobody has logged in; a page leads to the login, an interface answers 401."""

    def __init__(self) -> None:
        super().__init__(401, "log in first, or send a token that is valid", headers=_CHALLENGE)


class TooManyTries(HTTPException):
    """Wrong tokens came from this address; another one is not looked at yet."""

    def __init__(self, seconds: float) -> None:
        wait = str(math.ceil(seconds))
        super().__init__(
            429, f"too many wrong tokens; wait {wait} seconds", headers={"Retry-After": wait}
        )


class NotAllowed(HTTPException):
    """The role is too small."""

    def __init__(self, needed: Role) -> None:
        super().__init__(403, f"this needs the role {needed.word}")


class Needs:
    """Lets pass who has at least a role; FastAPI calls it before the route.

    Args:
        role: the least role.
    """

    def __init__(self, role: Role) -> None:
        self.role = role

    def __call__(self, request: Request) -> Person:
        """Return who asks.

        Raises:
            TooManyTries: wrong tokens came from there.
            NeedsLogin: nobody has logged in.
            NotAllowed: the role is too small.
        """
        asker = request.state.asker
        person: Person | None = asker.person
        if asker.wait > 0:
            raise TooManyTries(asker.wait)
        if person is None:
            raise NeedsLogin
        if not person.may(self.role):
            raise NotAllowed(self.role)
        return person


def needs(role: Role) -> Dependency:
    """Return the dependency for ``APIRouter(dependencies=[needs(Role.VIEWER)])`` and routes."""
    dependency: Dependency = Depends(Needs(role))
    return dependency
