"""What machines ask: whether it lives, whether it is ready, and the metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from intu_fhir.web.access.roles import Role
from intu_fhir.web.rendering import site_of
from intu_fhir.web.routes import Route, get
from intu_fhir.web.standing import standing_metrics

STANDING_SECONDS = 5.0
"""So long is the state of the site kept between two who ask."""


def alive(_request: Request) -> Response:
    """Say that this process answers."""
    return PlainTextResponse("ok\n")


def ready(request: Request) -> Response:
    """Say whether the site can do its work; the names of what is missing, never more."""
    parts = dict(site_of(request).ready())
    wrong = {name: what for name, what in parts.items() if what}
    body = {"ready": not wrong, **{name: what or "ok" for name, what in parts.items()}}
    return JSONResponse(body, 503 if wrong else 200)


def metrics(request: Request) -> Response:
    """Return the metrics of this process, and the state of the site, for Prometheus."""
    site = site_of(request)
    standing = site.cached.get("standing", STANDING_SECONDS, lambda: standing_metrics(site))
    return Response(generate_latest() + standing, media_type=CONTENT_TYPE_LATEST)


def routes(*, public_metrics: bool) -> tuple[Route, ...]:
    """Return the routes."""
    return (
        get("/healthz", None, alive),
        get("/readyz", None, ready),
        get("/metrics", None if public_metrics else Role.VIEWER, metrics),
    )
