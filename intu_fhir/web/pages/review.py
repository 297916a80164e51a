"""What waits for a person's decision: held studies, and objects that were put aside."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.holds import NEEDS_REBUILD
from intu_fhir.db.review import list_holds, list_quarantine
from intu_fhir.model.audit import Action
from intu_fhir.web.access.roles import Role
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.rendering import page, site_of
from intu_fhir.web.routes import get

MOST = 200


def show(request: Request) -> Response:
    """Show the page."""
    site = site_of(request)
    with site.database.snapshot() as connection:
        holds = list_holds(connection, limit=MOST + 1)
        objects = list_quarantine(connection, limit=MOST + 1)
    seen = len(holds[:MOST]) + len(objects[:MOST])
    note_look(request, site, Action.QUERIED, what="review", objects=seen)
    return page(
        request,
        "review.html",
        title="Review",
        holds=holds[:MOST],
        objects=objects[:MOST],
        more_holds=len(holds) > MOST,
        more_objects=len(objects) > MOST,
        most=MOST,
        needs_rebuild=NEEDS_REBUILD,
    )


ROUTES = (get("/review", Role.VIEWER, show),)
