"""Makes the web application: gate, routes, and what becomes of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from intu_fhir.errors import IntuError, TransientError
from intu_fhir.web.api.document import api_routes
from intu_fhir.web.context import THREADS, Site
from intu_fhir.web.http.bodies import WholeBody
from intu_fhir.web.http.cross_origin import CrossOrigin
from intu_fhir.web.http.gate import Gate
from intu_fhir.web.http.head import Head
from intu_fhir.web.http.headers import SecurityHeaders
from intu_fhir.web.http.last_resort import LastResort
from intu_fhir.web.http.needs import NeedsLogin, needs
from intu_fhir.web.http.problems import is_interface, problem
from intu_fhir.web.pages import login
from intu_fhir.web.pages.table import routes
from intu_fhir.web.rendering import STATIC, page
from intu_fhir.web.routes import Route

_MOST_ERRORS = 20
_ONE_YEAR = "public, max-age=31536000, immutable"


def create_app(site: Site) -> FastAPI:
    """Return the application of a site.

    A router of its own is added with ``include_router(..., dependencies=[needs(role)])``.
    """
    app = FastAPI(
        title="intu-fhir",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_bounded_threads,
        redirect_slashes=False,
    )
    app.state.site = site
    for route in routes(site.web):
        _add(app, route)
    app.router.routes.extend(api_routes(site.web))
    app.mount("/static", _Static(directory=STATIC), name="static")
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(IntuError, _troubled)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    web = site.web
    # The last one added is the first one asked.
    app.add_middleware(Head)
    if web.dicomweb.enabled and web.dicomweb.allowed_origins:
        app.add_middleware(CrossOrigin, settings=web.dicomweb)
    app.add_middleware(Gate, site=site)
    app.add_middleware(WholeBody, max_bytes=web.max_body_bytes, seconds=web.request_seconds)
    app.add_middleware(SecurityHeaders, https=site.is_https)
    app.add_middleware(LastResort)
    return app


def _add(app: FastAPI, route: Route) -> None:
    app.add_api_route(
        route.path,
        _page(route.answer),
        methods=[route.method],
        dependencies=[] if route.needs is None else [needs(route.needs)],
        include_in_schema=False,
        response_model=None,
        name=f"{route.method} {route.path}",
    )


def _page(answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Give FastAPI a function whose signature it can read."""

    def endpoint(request: Request) -> Response:
        return answer(request)

    return endpoint


@asynccontextmanager
async def _bounded_threads(_app: FastAPI) -> AsyncIterator[None]:
    """Bound the threads that pages are made in: the receiver has the machine first."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


class _Static(StaticFiles):
    """Static files, whose addresses change with their content."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Return a file that may be kept for long."""
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = _ONE_YEAR
        return response


def _is_interface(request: Request) -> bool:
    """Say whether it is a program that calls: it is answered in JSON and never led to a page."""
    path, site = request.url.path, request.app.state.site
    return is_interface(path) or path.startswith(f"{site.web.dicomweb.path}/")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if _is_interface(request):
        detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
        detail = detail or _SENTENCES.get(error.status_code, "")
        return problem(error.status_code, detail, headers=error.headers)
    is_page = request.method == "GET" and "x-fragment" not in request.headers
    is_page = is_page and request.state.asker.visit is not None
    if isinstance(error, NeedsLogin) and is_page:
        return RedirectResponse(login.login_address(request), 303)
    answer = _problem(request, error.status_code, _SENTENCES.get(error.status_code, error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _troubled(request: Request, error: Exception) -> Response:
    """Say what is wrong in our own words, which never hold patient data."""
    assert isinstance(error, IntuError)
    status = 503 if isinstance(error, TransientError) else 400
    if _is_interface(request):
        return problem(status, str(error))
    return _problem(request, status, str(error))


async def _misunderstood(_request: Request, error: Exception) -> Response:
    """Say which field is wrong and why; never what it held, which may identify a patient."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {
            "field": ".".join(str(part) for part in one["loc"])[:200],
            "problem": str(one["msg"])[:200],
        }
        for one in error.errors()[:_MOST_ERRORS]
    ]
    return problem(422, "The request is not what the schema says.", errors=errors)


def _problem(request: Request, status: int, sentence: str) -> Response:
    title = _TITLES.get(status, "That does not work")
    return page(request, "problem.html", status=status, title=title, sentence=sentence)


_TITLES = {
    401: "Log in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not this way",
    503: "Not right now",
}
_SENTENCES = {
    401: "Your session has ended. Log in again.",
    404: "There is nothing at this address. It may have been mistyped, or the study was never "
    "received here.",
    405: "This address takes no such request.",
}
