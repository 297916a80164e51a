"""What machines ask: whether it lives, whether it is ready, and the metrics."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from intu_fhir.web.access.roles import Role
from intu_fhir.web.rendering import site_of
from intu_fhir.web.routes import Route, get


def alive(_request: Request) -> Response:
    """Say that this process answers."""
    return PlainTextResponse("ok\n")


def ready(request: Request) -> Response:
    """Say whether the site can do its work; the names of what is missing, never more."""
    parts = dict(site_of(request).ready())
    wrong = {name: what for name, what in parts.items() if what}
    body = {"ready": not wrong, **{name: what or "ok" for name, what in parts.items()}}
    return JSONResponse(body, 503 if wrong else 200)


def metrics(_request: Request) -> Response:
    """Return the metrics of this process for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def routes(*, public_metrics: bool) -> tuple[Route, ...]:
    """Return the routes."""
    return (
        get("/healthz", None, alive),
        get("/readyz", None, ready),
        get("/metrics", None if public_metrics else Role.VIEWER, metrics),
    )
