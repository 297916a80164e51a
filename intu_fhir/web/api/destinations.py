"""Destinations: how each does, how fast it may go, pause and resume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel

from intu_fhir.db.destinations import (
    DestinationRow,
    find_destination,
    list_destinations,
    names_with_work,
    pause,
    resume,
)
from intu_fhir.db.retired import Retirer, retire_all
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import AddressOf, PersonOf, SiteOf, new_router
from intu_fhir.web.api.values import NamePath, Why
from intu_fhir.web.context import Site
from intu_fhir.web.http.needs import needs


class DestinationAnswer(BaseModel):
    """One destination.

    ``state`` is up, paused, down (its breaker is open), recovering, or later: it has asked to be
    left alone until ``free_at``. ``max_per_minute`` is its
    configured rate limit, null = none. ``delivered_last_hour`` is how fast it goes.
    ``failing`` counts its newest deliveries, as far as they failed for good one after the other.
    ``is_configured`` is false where it only stands in the database.
    """

    name: str
    is_configured: bool
    max_per_minute: float | None
    state: str
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    breaker: str
    silences: int
    opened_at: datetime | None
    next_probe_at: datetime | None
    free_at: datetime | None
    allowed: int | None
    last_error: str
    waiting: int
    running: int
    retrying: int
    dead: int
    held: int
    delivered_last_hour: int
    oldest_due: datetime | None
    failing: int


routes = new_router("destinations")


@routes.get("/destinations", dependencies=[needs(Role.VIEWER)])
def get_destinations(site: SiteOf) -> list[DestinationAnswer]:
    """List destinations: whether they answer, what waits for them, how fast it goes."""
    configured = site.configuration.site.destinations
    with site.database.snapshot() as connection:
        others = set(names_with_work(connection)) - set(configured)
        names = [*configured, *sorted(others)]
        return _answers(site, list_destinations(connection, names, site.clock.now()))


@routes.post("/destinations/{name}/pause", dependencies=[needs(Role.OPERATOR)])
def pause_destination(
    site: SiteOf, person: PersonOf, address: AddressOf, name: NamePath, why: Why | None = None
) -> DestinationAnswer:
    """Let nothing more go to a destination; what is on its way is finished."""
    _require(site, name)
    reason, now = why.reason if why else "", site.clock.now()
    with site.database.write() as connection:
        pause(connection, name, by=person.name, reason=reason, now=now, address=address)
    return _one(site, name)


@routes.post("/destinations/{name}/resume", dependencies=[needs(Role.OPERATOR)])
def resume_destination(
    site: SiteOf, person: PersonOf, address: AddressOf, name: NamePath
) -> DestinationAnswer:
    """Let deliveries go to a destination again."""
    _require(site, name)
    with site.database.write() as connection:
        resume(connection, name, by=person.name, now=site.clock.now(), address=address)
    return _one(site, name)


class RetiredAnswer(BaseModel):
    """What became of a destination that was taken out of service.

    ``left_out``: studies that it had not got; they are filtered there now.
    """

    name: str
    left_out: int


@routes.post("/destinations/{name}/retire", dependencies=[needs(Role.OPERATOR)])
def retire_destination(
    site: SiteOf, person: PersonOf, address: AddressOf, name: NamePath, why: Why | None = None
) -> RetiredAnswer:
    """Take a destination out of service for good that is not configured any more.

    What it has not got, waiting, failed or held, is left out. One that is configured is refused.
    """
    _require(site, name)
    if name in site.configuration.site.destinations:
        raise HTTPException(409, "it is configured; remove it from intu.yaml and restart first")
    by = Retirer(person.name, why.reason if why else "", address)
    left_out = retire_all(site.database, name, by, site.clock.now)
    site.cached.forget("destinations")
    return RetiredAnswer(name=name, left_out=left_out)


def _require(site: Site, name: str) -> None:
    """Refuse a name that nothing has.

    Raises:
        HTTPException: it is neither configured nor in the database.
    """
    if name in site.configuration.site.destinations:
        return
    with site.database.read() as connection:
        if name not in names_with_work(connection):
            raise HTTPException(404, "there is no such destination; see GET /api/v1/destinations")


def _one(site: Site, name: str) -> DestinationAnswer:
    site.cached.forget("destinations")
    with site.database.read() as connection:
        [answer] = _answers(site, [find_destination(connection, name, site.clock.now())])
    return answer


def _answers(site: Site, rows: Iterable[DestinationRow]) -> list[DestinationAnswer]:
    configured = site.configuration.site.destinations
    answers = []
    for row in rows:
        values: dict[str, Any] = asdict(row)
        known = configured.get(row.name)
        limit = known.max_per_minute if known else None
        answers.append(
            DestinationAnswer(**values, is_configured=known is not None, max_per_minute=limit)
        )
    return answers
