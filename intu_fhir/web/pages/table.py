"""The one table of routes, each with the role it needs; a test walks it."""

from __future__ import annotations

from intu_fhir.settings.web import Web
from intu_fhir.web.dicomweb import table as dicomweb
from intu_fhir.web.pages import (
    audit,
    destinations,
    failures,
    health,
    login,
    oidc,
    overview,
    preview,
    replay,
    review,
    sql,
    studies,
    study,
)
from intu_fhir.web.routes import Route


def routes(web: Web) -> tuple[Route, ...]:
    """Return every route of the pages."""
    return (
        *health.routes(public_metrics=web.public_metrics),
        *login.ROUTES,
        *oidc.routes(web),
        *overview.ROUTES,
        *studies.ROUTES,
        *study.ROUTES,
        *preview.ROUTES,
        *failures.ROUTES,
        *replay.ROUTES,
        *review.ROUTES,
        *destinations.ROUTES,
        *sql.routes(web),
        *audit.ROUTES,
        *(dicomweb.routes(web.dicomweb.path) if web.dicomweb.enabled else ()),
    )
