"""What fails, by cause: one line for a hundred studies that fail for one reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.failures import Cause, causes, failures_of, left_out
from intu_fhir.db.study_names import study_names
from intu_fhir.model.audit import Action
from intu_fhir.model.cause import reason_of, remedy_of
from intu_fhir.web.access.roles import Role
from intu_fhir.web.fields import asked, number
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.rendering import is_background, page, site_of
from intu_fhir.web.routes import get

ROWS = 100


def name_of(cause: Cause) -> str:
    """Return a name for an address: the words of a far side do not belong into one."""
    words = "\0".join((cause.step, cause.destination, cause.cause))
    return hashlib.sha256(words.encode()).hexdigest()[:20]


def reason_in(cause: Cause) -> str:
    """Return what went wrong without what to do: in full where it is the same for all of them."""
    words = reason_of(cause.example) if cause.is_same else cause.cause
    return words.strip() or "no reason given"


def find_cause(found: Iterable[Cause], name: str) -> Cause | None:
    """Return the cause of that name, where something still fails for it."""
    return next((cause for cause in found if name_of(cause) == name), None)


def show(request: Request) -> Response:
    """Show all causes."""
    site = site_of(request)
    destination = asked(request, "destination") or None
    with site.database.read() as connection:
        found = causes(connection, destination)
        cut = left_out(connection, found, destination)
    return page(
        request,
        "failures.html",
        title="Failures",
        causes=found,
        cut=cut,
        destination=destination,
        destinations=list(site.configuration.site.destinations),
        name_of=name_of,
        remedy_of=remedy_of,
        reason_in=reason_in,
    )


def show_cause(request: Request) -> Response:
    """Show what fails for one cause."""
    site, name = site_of(request), request.path_params["cause"]
    after = number(asked(request, "after"))
    with site.database.read() as connection:
        cause = find_cause(causes(connection), name)
        if cause is None:
            return _gone(request)
        found = failures_of(connection, cause, after=after, limit=ROWS + 1)
        names = study_names(connection, [row.study_instance_uid for row in found])
    if not found and after is not None:
        raise HTTPException(404)
    rows = found[:ROWS]
    note_look(request, site, Action.QUERIED, what="failures", objects=len(rows))
    return page(
        request,
        "failure.html",
        title="Failure",
        cause=cause,
        name=name,
        remedy=remedy_of(cause.example),
        reason=reason_in(cause),
        rows=rows,
        names=names,
        next_after=rows[-1].key if len(found) > ROWS else "",
        is_first=after is None,
    )


def _gone(request: Request) -> Response:
    """Say that it is over; for a page that has shown the cause until now this is good news."""
    status = 200 if is_background(request) else 404
    return page(request, "failure_gone.html", title="Failures", status=status)


ROUTES = (
    get("/failures", Role.VIEWER, show),
    get("/failures/{cause}", Role.VIEWER, show_cause),
)
