"""What waits for a person's decision: held studies, and objects that were put aside."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.db.holds import NEEDS_REBUILD
from intu_fhir.db.review import find_quarantined, list_holds, list_quarantine
from intu_fhir.db.study_names import studies_of, study_names
from intu_fhir.model.audit import Action
from intu_fhir.web.access.roles import Role
from intu_fhir.web.fields import number, one
from intu_fhir.web.http.identify import person_address
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.removal import remove_object
from intu_fhir.web.rendering import asker_of, page, site_of
from intu_fhir.web.routes import get, post

MOST = 200
MAX_REASON = 500


def show(request: Request) -> Response:
    """Show the page."""
    site = site_of(request)
    with site.database.snapshot() as connection:
        holds = list_holds(connection, limit=MOST + 1)
        objects = list_quarantine(connection, limit=MOST + 1)
        staged = studies_of(connection, [row.sop_instance_uid for row in objects])
        held = [row.study_instance_uid for row in holds]
        named = [row.study_instance_uid for row in objects]
        names = study_names(connection, [*held, *named, *staged.values()])
    seen = len(holds[:MOST]) + len(objects[:MOST])
    note_look(request, site, Action.QUERIED, what="review", objects=seen)
    return page(
        request,
        "review.html",
        title="Review",
        names=names,
        staged=staged,
        holds=holds[:MOST],
        objects=objects[:MOST],
        more_holds=len(holds) > MOST,
        more_objects=len(objects) > MOST,
        most=MOST,
        needs_rebuild=NEEDS_REBUILD,
        remover=Role.ADMINISTRATOR,
    )


def remove(request: Request) -> Response:
    """Ask whether an object and its file are to go for good; or do it, where that was seen."""
    site, person = site_of(request), asker_of(request).person
    key = number(request.path_params["key"])
    if key is None or person is None:
        raise HTTPException(404)
    if one(request, "confirmed") != "yes":
        with site.database.read() as connection:
            row = find_quarantined(connection, key)
        if row is None:
            return _back("not-quarantined")
        return page(request, "quarantine_remove.html", title="Remove", row=row)
    reason = one(request, "reason", longest=MAX_REASON).strip()
    where = person_address(request, site)
    gone = remove_object(site, key, by=person.name, reason=reason, address=where)
    site.cached.forget("overview")
    return _back({None: "not-quarantined", True: "removed", False: "removed-later"}[gone])


def _back(said: str) -> Response:
    return RedirectResponse(f"/review?said={said}", 303)


ROUTES = (
    get("/review", Role.VIEWER, show),
    post("/quarantine/{key}/remove", Role.ADMINISTRATOR, remove),
)
