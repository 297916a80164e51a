"""Templates: every value is escaped, every page gets the same frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from intu_fhir.build.checks import ASKED
from intu_fhir.settings.web import Web
from intu_fhir.web import words
from intu_fhir.web.access.roles import Role
from intu_fhir.web.context import Site
from intu_fhir.web.http.identify import Asker
from intu_fhir.web.http.trail import BACKGROUND

_HERE = Path(__file__).parent
STATIC = _HERE / "static"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the navigation; ``key`` goes there after ``g``."""

    name: str
    path: str
    key: str
    needs: Role = Role.VIEWER


NAVIGATION = (
    Entry("Overview", "/", "o"),
    Entry("Grid", "/grid", "g"),
    Entry("Studies", "/studies", "s"),
    Entry("Failures", "/failures", "f"),
    Entry("Review", "/review", "r"),
    Entry("Destinations", "/destinations", "d"),
    Entry("SQL", "/sql", "q"),
    Entry("Audit", "/audit", "a", Role.ADMINISTRATOR),
)


@cache
def environment() -> Environment:
    """Return the templates, read once."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(words.FILTERS)
    made.globals.update(
        glyph=words.glyph, asset=asset, told=told, Role=Role, version=version("intu-fhir")
    )
    made.globals["zone"] = words.zone_name
    return made


def told(code: str, severity: str) -> str:
    """Say what a check asks for whose code is a number; other codes say it themselves."""
    return ASKED.get((code, severity), "")


@cache
def asset(name: str) -> str:
    """Return the address of a static file; it changes with the content, so it may be cached."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?{digest}"


def site_of(request: Request) -> Site:
    """Return what the application was made with."""
    site: Site = request.app.state.site
    return site


def asker_of(request: Request) -> Asker:
    """Return who asks."""
    asker: Asker = request.state.asker
    return asker


def is_background(request: Request) -> bool:
    """Say whether the page asks by itself for its newest content."""
    return BACKGROUND in request.headers


def page(
    request: Request, template: str, *, status: int = 200, title: str, **values: Any
) -> Response:
    """Return a page, or only its live part where the page itself asks for that."""
    found = environment().get_template(template)
    context = {**_frame(request, title), **values}
    if is_background(request) and "live" in found.blocks:
        parts = found.blocks["live"](found.new_context(context))
        return HTMLResponse("".join(parts), status)
    return HTMLResponse(found.render(context), status)


def _frame(request: Request, title: str) -> Mapping[str, Any]:
    site, asker = site_of(request), asker_of(request)
    person = asker.person
    theme = request.cookies.get("theme", "")
    role = person.role if person else None
    return {
        "title": title,
        "path": request.url.path,
        "person": person,
        "role": role,
        "may_act": role is not None and role >= Role.OPERATOR,
        "navigation": _navigation(request, role),
        "form_token": site.visits.form_token(asker.visit.id) if asker.visit else "",
        "theme": theme if theme in {"light", "dark"} else "auto",
        "needs_login": site.web.names_people,
        "now": site.clock.now(),
        "said": said(request),
    }


def _navigation(request: Request, role: Role | None) -> list[Entry]:
    """Return the entries that lead somewhere and that the role may see."""
    paths = {getattr(route, "path", "") for route in request.app.routes}
    return [
        entry
        for entry in NAVIGATION
        if role is not None and entry.path in paths and role >= _needed(entry, site_of(request))
    ]


def _needed(entry: Entry, site: Site) -> Role:
    return sql_role(site.web) if entry.path == "/sql" else entry.needs


def sql_role(web: Web) -> Role:
    """Return the least role that may ask SQL."""
    return Role[web.sql.role.upper()]


_SAID: Mapping[str, str] = {
    "replayed": "Put back. It is tried again now.",
    "nothing": "There was nothing to put back; somebody or something else was faster.",
    "choose": "Nothing was put back: choose at least one row, or replay all.",
    "released": "Released. What the hold kept back is due now.",
    "asked-again": "Released. The destination judges the study again; it is held again unless the "
    "cause is gone.",
    "needs-rebuild": "It stays: a resource with errors is never sent. Mend the images or the "
    "mapping, then build the study again.",
    "not-held": "That hold was released already.",
    "removed": "Removed, with its file.",
    "removed-later": "Removed. Its file goes later: a backup is being made, or the store does not "
    "answer.",
    "not-quarantined": "That object was removed already.",
    "settling": "It is settled next.",
    "settled": "It has settled already; nothing to do.",
    "paused": "Paused. What is on its way is finished, nothing new begins.",
    "resumed": "Resumed. What waits is sent now.",
    "rebuilding": "It is built again now; where the content is the same nothing is sent.",
}


def said(request: Request) -> str:
    """Return what an action before this page wants to say: a text of ours, by its name."""
    return _SAID.get(request.query_params.get("said", ""), "")
