"""What the routes of the API have in common: role first, then everything else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from intu_fhir.web.access.roles import Person
from intu_fhir.web.context import Site
from intu_fhir.web.http.identify import person_address
from intu_fhir.web.http.needs import Needs
from intu_fhir.web.rendering import asker_of, site_of

PREFIX = "/api/v1"
"""A change that breaks who calls goes under a new number."""


class RoleFirst(APIRoute):
    """Judges the role before a body is read, so that a stranger learns nothing from it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()
        needed = [d.call for d in self.dependant.dependencies if isinstance(d.call, Needs)]

        async def handler(request: Request) -> Response:
            for needs in needed:
                needs(request)
            return await answer(request)

        return handler


def new_router(tag: str) -> APIRouter:
    """Return a router for some routes of the API."""
    return APIRouter(prefix=PREFIX, route_class=RoleFirst, tags=[tag])


def _person(request: Request) -> Person:
    person = asker_of(request).person
    assert person is not None, "the route needs a role"
    return person


def _address(request: Request) -> str:
    return person_address(request, site_of(request))


SiteOf: TypeAlias = Annotated[Site, Depends(site_of)]
PersonOf: TypeAlias = Annotated[Person, Depends(_person)]
AddressOf: TypeAlias = Annotated[str, Depends(_address)]
