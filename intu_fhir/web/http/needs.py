"""What a route needs: the dependency that every route but the public ones has."""

from __future__ import annotations

from fastapi import Depends, HTTPException, Request
from fastapi.params import Depends as Dependency

from intu_fhir.web.access.roles import Person, Role


class NeedsLogin(HTTPException):
    """Nobody has logged in; a page leads to the login, an interface answers 401."""

    def __init__(self) -> None:
        super().__init__(401, "log in first")


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
            NeedsLogin: nobody has logged in.
            NotAllowed: the role is too small.
        """
        person: Person | None = request.state.asker.person
        if person is None:
            raise NeedsLogin
        if not person.may(self.role):
            raise NotAllowed(self.role)
        return person


def needs(role: Role) -> Dependency:
    """Return the dependency for ``APIRouter(dependencies=[needs(Role.VIEWER)])`` and routes."""
    dependency: Dependency = Depends(Needs(role))
    return dependency
