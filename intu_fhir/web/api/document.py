"""The routes of the API put together, and the OpenAPI document of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from intu_fhir.settings.web import Web
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api import (
    commitments,
    destinations,
    overview,
    queues,
    replays,
    sql,
    studies,
    study,
    trail,
    versions,
)
from intu_fhir.web.api.routing import new_router
from intu_fhir.web.api.values import Problem
from intu_fhir.web.http.needs import Needs, needs
from intu_fhir.web.http.problems import MEDIA_TYPE

_DESCRIPTION = """\
What the web page shows and does, for programs. Each operation names the least role that its token
needs. Fields may be added; none is removed or changes its meaning under this number."""

_PROBLEMS: Mapping[str, str] = {
    "400": "It contradicts itself, or the database or a mapping refuses it; `detail` says why.",
    "401": "No token, or one that opens nothing.",
    "403": "The role is too small, or a session's request carries no token of its form.",
    "404": "It is not there.",
    "409": "It is not any more as the dry run told, or something else has to come first.",
    "413": "The request is too large.",
    "422": "The request is not what the schema says; `errors` name the fields.",
    "429": "Wrong tokens came from this address; wait.",
    "503": "The database does not answer, or enough statements run; try again.",
}


def api_routes(web: Web) -> list[APIRoute]:
    """Return all routes of the API, one list, so that who walks the application sees each."""
    routers = (
        overview.routes,
        studies.routes,
        study.routes,
        versions.routes,
        queues.routes,
        commitments.routes,
        destinations.routes,
        replays.routes,
        sql.router(web),
        trail.routes,
        _own(web),
    )
    return [route for one in routers for route in one.routes if isinstance(route, APIRoute)]


def _own(web: Web) -> APIRouter:
    routes = new_router("document")

    @routes.get("/openapi.json", dependencies=[needs(Role.VIEWER)], include_in_schema=False)
    def get_document(_request: Request) -> Response:
        """Return the OpenAPI document."""
        return JSONResponse(api_document(web))

    return routes


def api_document(web: Web) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the API."""
    routes = api_routes(web)
    document = get_openapi(
        title="intu-fhir",
        version=version("intu-fhir"),
        description=_DESCRIPTION,
        routes=routes,
    )
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema(mode="serialization")
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for operation, route in _operations(document, routes):
        _complete(operation, route)
    return document


def _operations(
    document: dict[str, Any], routes: list[APIRoute]
) -> Iterator[tuple[dict[str, Any], APIRoute]]:
    for route in routes:
        if route.include_in_schema:
            for method in route.methods or ():
                yield document["paths"][route.path_format][method.lower()], route


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Name the role of an operation, and what it answers where it does not do what was asked."""
    role = role_needed(route)
    assert role is not None, f"{route.path} needs a role"
    operation["x-role"] = role.word
    operation["responses"].pop("422", None)
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, meaning in _PROBLEMS.items():
        operation["responses"][status] = {"description": meaning, "content": content}


def role_needed(route: APIRoute) -> Role | None:
    """Return the role that a route asks for."""
    calls = [d.call for d in route.dependant.dependencies]
    return max((call.role for call in calls if isinstance(call, Needs)), default=None)
