"""Studies: search and list; and the grid of the same studies by steps and destinations."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.db.awaited import awaited
from intu_fhir.db.grid import cells_of
from intu_fhir.db.reports import page_of_studies
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.model.audit import Action
from intu_fhir.web.access.roles import Role
from intu_fhir.web.fields import asked
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.pages.search import pager, search_of
from intu_fhir.web.rendering import page, site_of
from intu_fhir.web.routes import get, post
from intu_fhir.web.words import waits

GRID_ROWS = 40


def show(request: Request) -> Response:
    """Show the studies that are asked for, the newest first."""
    site, search = site_of(request), search_of(request)
    if request.method == "POST" and not search.names_a_patient and not asked(request, "after"):
        # What identifies nobody may stand in the address, to be kept and sent to a colleague.
        return RedirectResponse(search.address("/studies"), 303)
    with site.database.read() as connection:
        found = pager(page_of_studies(connection, search.wanted), search.wanted)
        delivering = [row.study_key for row in found.rows if row.state == "delivering"]
        late = awaited(connection, delivering, site.clock.now())
    note_look(request, site, Action.QUERIED, what="studies", objects=len(found.rows))
    return page(
        request,
        "studies.html",
        title="Studies",
        search=search,
        rows=found.rows,
        waits_for=lambda row: waits(late.get(row.study_key, ())),
        pager=found,
        is_first=search.wanted.after is None,
        is_live=request.method == "GET" and search.wanted.after is None,
        states=STUDY_STATES,
        destinations=list(site.configuration.site.destinations),
    )


def show_grid(request: Request) -> Response:
    """Show studies down, steps and destinations across."""
    site, search = site_of(request), search_of(request, limit=GRID_ROWS)
    with site.database.read() as connection:
        found = pager(page_of_studies(connection, search.wanted), search.wanted)
        rows = cells_of(connection, found.rows)
    note_look(request, site, Action.QUERIED, what="grid", objects=len(rows))
    configured = list(site.configuration.site.destinations)
    others = {name for row in rows for name in row.destinations} - set(configured)
    return page(
        request,
        "grid.html",
        title="Grid",
        search=search,
        rows=rows,
        columns=[*configured, *sorted(others)],
        pager=found,
        is_first=search.wanted.after is None,
        states=STUDY_STATES,
        is_live=search.wanted.after is None,
    )


ROUTES = (
    get("/studies", Role.VIEWER, show),
    post("/studies", Role.VIEWER, show),
    get("/grid", Role.VIEWER, show_grid),
)
