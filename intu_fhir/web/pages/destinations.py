"""Destinations: whether they answer, what waits for them, pause and resume."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.db.destinations import (
    DestinationRow,
    list_destinations,
    names_with_work,
    pause,
    resume,
)
from intu_fhir.model.destination import FAILING, UP
from intu_fhir.settings.schema import DicomDestination, FhirDestination
from intu_fhir.web.access.roles import Role
from intu_fhir.web.context import Site
from intu_fhir.web.far_sides import Answer
from intu_fhir.web.fields import one
from intu_fhir.web.http.identify import person_address
from intu_fhir.web.rendering import asker_of, is_background, page, site_of
from intu_fhir.web.routes import get, post

MAX_REASON = 500


def show(request: Request) -> Response:
    """Show the page."""
    site = site_of(request)
    configured = site.configuration.site.destinations
    rows = site.cached.get("destinations", 2.0, lambda: _rows(site))
    if not is_background(request):
        site.far_sides.wait_for_first([row.name for row in rows])
    return page(
        request,
        "destinations.html",
        title="Destinations",
        rows=[(row, configured.get(row.name), site.far_sides.answer(row.name)) for row in rows],
        shown=shown,
        where=where,
    )


def _rows(site: Site) -> list[DestinationRow]:
    configured = site.configuration.site.destinations
    with site.database.snapshot() as connection:
        others = set(names_with_work(connection)) - set(configured)
        return list_destinations(connection, [*configured, *sorted(others)], site.clock.now())


def shown(row: DestinationRow, answer: Answer | None) -> str:
    """Return a destination's state in one word, with what it says when it is asked now."""
    return FAILING if row.shown == UP and answer is not None and not answer.row.ok else row.shown


def where(destination: object) -> str:
    """Say where a destination is."""
    if isinstance(destination, FhirDestination):
        return f"FHIR {destination.release.upper()} at {destination.base_url}"
    if isinstance(destination, DicomDestination):
        tls = ", TLS" if destination.tls else ""
        return f"DICOM, {destination.called_ae_title} at {destination.host}:{destination.port}{tls}"
    return "no longer in intu.yaml"


def pause_it(request: Request) -> Response:
    """Let nothing more go to a destination."""
    site, name = site_of(request), _known(request)
    reason = one(request, "reason", longest=MAX_REASON).strip()
    by, now, where = _who(request), site.clock.now(), person_address(request, site)
    with site.database.write() as connection:
        pause(connection, name, by=by, reason=reason, now=now, address=where)
    site.cached.forget("destinations")
    return RedirectResponse("/destinations?said=paused", 303)


def resume_it(request: Request) -> Response:
    """Let deliveries go to a destination again."""
    site, name = site_of(request), _known(request)
    by, now, where = _who(request), site.clock.now(), person_address(request, site)
    with site.database.write() as connection:
        resume(connection, name, by=by, now=now, address=where)
    site.cached.forget("destinations")
    return RedirectResponse("/destinations?said=resumed", 303)


def _known(request: Request) -> str:
    """Return the name of a destination that is there."""
    site = site_of(request)
    name: str = request.path_params["name"]
    if name not in site.configuration.site.destinations:
        with site.database.read() as connection:
            if name not in names_with_work(connection):
                raise HTTPException(404)
    return name


def _who(request: Request) -> str:
    person = asker_of(request).person
    return person.name if person else ""


ROUTES = (
    get("/destinations", Role.VIEWER, show),
    post("/destinations/{name}/pause", Role.OPERATOR, pause_it),
    post("/destinations/{name}/resume", Role.OPERATOR, resume_it),
)
