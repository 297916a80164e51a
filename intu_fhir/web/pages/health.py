"""What machines ask: whether it lives, whether it is ready, and the metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from intu_fhir.web.access.roles import Role
from intu_fhir.web.readiness import ready_response
from intu_fhir.web.rendering import site_of
from intu_fhir.web.routes import Route, get
from intu_fhir.web.standing import metrics_response


def alive(_request: Request) -> Response:
    """Say that this process answers."""
    return PlainTextResponse("ok\n")


def ready(request: Request) -> Response:
    """Say whether the site can do its work; the names of what is missing, never more."""
    site = site_of(request)
    return ready_response(site.ready(), is_changed=site.is_changed())


def metrics(request: Request) -> Response:
    """Return the metrics of this process, and the state of the site, for Prometheus."""
    site = site_of(request)
    return metrics_response(site, site.cached)


def routes(*, public_metrics: bool) -> tuple[Route, ...]:
    """Return the routes."""
    return (
        get("/healthz", None, alive),
        get("/readyz", None, ready),
        get("/metrics", None if public_metrics else Role.VIEWER, metrics),
    )
