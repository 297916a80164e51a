"""Logging in with a password, and out."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.model.audit import Action, Outcome
from intu_fhir.web.access.roles import Role, printable_name
from intu_fhir.web.access.visits import Visit
from intu_fhir.web.context import Site
from intu_fhir.web.fields import one
from intu_fhir.web.http.identify import person_address
from intu_fhir.web.http.trail import event_of, note
from intu_fhir.web.rendering import asker_of, page, site_of
from intu_fhir.web.routes import get, post

_SAFE_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def where_to(path: str) -> str:
    """Return a path of ours to go on with; anything else leads to the start."""
    return path if _SAFE_PATH.fullmatch(path) and not path.startswith("/login") else "/"


def login_address(request: Request) -> str:
    """Return where to log in, and where to go on then."""
    path = request.url.path if request.method == "GET" else "/"
    return f"/login?next={quote(path, safe='/')}"


def show_login(request: Request) -> Response:
    """Show the form; who has logged in goes on."""
    next_path = where_to(request.query_params.get("next", "/"))
    if asker_of(request).person is not None:
        return RedirectResponse(next_path, 303)
    return show_form(request, next_path)


def show_form(
    request: Request, next_path: str, *, problem: str = "", name: str = "", status: int = 200
) -> Response:
    """Show the ways to log in, and what was wrong with the last try."""
    web = site_of(request).web
    return page(
        request,
        "login.html",
        status=status,
        title="Log in",
        next_path=next_path,
        problem=problem,
        name=name,
        by_password=web.users_file is not None,
        by_oidc=web.oidc is not None,
        by_proxy=web.trusted_proxy is not None and web.trusted_proxy.user_header is not None,
    )


def log_in(request: Request) -> Response:
    """Judge a name and a password."""
    site = site_of(request)
    name, next_path = printable_name(one(request, "name")), where_to(one(request, "next"))
    keys = (f"name:{name}", f"address:{person_address(request, site)}")
    wait = site.attempts.seconds_to_wait(keys, site.clock.monotonic())
    if wait > 0:
        problem = f"Too many tries. Wait {wait:.0f} seconds."
        return show_form(request, next_path, problem=problem, name=name, status=429)
    user = site.users.check(name, one(request, "password")) if site.users else None
    if user is None:
        site.attempts.failed(keys, site.clock.monotonic())
        note(site, event_of(request, site, Action.SIGNED_IN, outcome=Outcome.MINOR, actor=name))
        problem = "Name and password do not fit. An administrator can set a new password."
        return show_form(request, next_path, problem=problem, name=name, status=401)
    site.attempts.succeeded(keys[0])
    begin_visit(request, site, user.name, user.role, "password", user.password_hash)
    return RedirectResponse(next_path, 303)


def begin_visit(
    request: Request, site: Site, name: str, role: Role, via: str, password_hash: str = ""
) -> Visit:
    """Begin the visit of who has just logged in; the gate puts it into the cookie."""
    note(site, event_of(request, site, Action.SIGNED_IN, actor=name, reason=via))
    now = site.clock.now()
    visit = site.visits.begin(now, name=name, role=role, via=via, password_hash=password_hash)
    request.state.begun = visit
    return visit


def log_out(request: Request) -> Response:
    """End the visit, here and wherever its cookie was copied to."""
    site, asker = site_of(request), asker_of(request)
    if asker.visit is not None:
        if asker.person is not None:
            note(site, event_of(request, site, Action.SIGNED_OUT))
        site.visits.end(asker.visit, site.clock.now())
    request.state.begun = site.visits.begin(site.clock.now())
    return RedirectResponse("/login", 303)


ROUTES = (
    get("/login", None, show_login),
    post("/login", None, log_in),
    post("/logout", None, log_out),
)
