"""How the site stands, and who asks."""

from __future__ import annotations

from pydantic import BaseModel

from intu_fhir.db.overview import Overview, overview
from intu_fhir.web.access.roles import Role
from intu_fhir.web.advice import Stuck, advice_of
from intu_fhir.web.api.routing import PersonOf, SiteOf, new_router
from intu_fhir.web.context import Site
from intu_fhir.web.http.needs import needs

FRESH_SECONDS = 2.0


class Standing(BaseModel):
    """The five steps at one moment, and what needs a person."""

    overview: Overview
    stuck: list[Stuck]


class Me(BaseModel):
    """Who asks: name in the audit trail, role, and how we know."""

    name: str
    role: str
    via: str


routes = new_router("site")


@routes.get("/overview", dependencies=[needs(Role.VIEWER)])
def get_overview(site: SiteOf) -> Standing:
    """Return the five steps with what is in them, and what is stuck with what to do."""
    seen = site.cached.get("overview", FRESH_SECONDS, lambda: _seen(site))
    parts = site.cached.get("ready", FRESH_SECONDS, site.ready)
    return Standing(overview=seen, stuck=advice_of(site, seen, parts))


@routes.get("/me", dependencies=[needs(Role.VIEWER)])
def get_me(person: PersonOf) -> Me:
    """Return whose token or session this is, and its role."""
    return Me(name=person.name, role=person.role.word, via=person.via)


def _seen(site: Site) -> Overview:
    with site.database.snapshot() as connection:
        return overview(connection, site.clock.now())
