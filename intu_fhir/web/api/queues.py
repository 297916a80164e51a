"""Deliveries, what fails by cause, destinations, holds and quarantine."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import HTTPException, Query, Request
from pydantic import BaseModel, Field

from intu_fhir.db.delivery_report import DeliveryFilter, DeliveryRow, list_deliveries
from intu_fhir.db.failures import Cause, FailureRow, causes, failures_of
from intu_fhir.db.holds import Release, release
from intu_fhir.db.review import HoldRow, QuarantineRow, list_holds, list_quarantine
from intu_fhir.model.audit import Action
from intu_fhir.model.cause import remedy_of
from intu_fhir.model.work import DEAD, DELIVERED, FILTERED, HELD, RETRYING, RUNNING, WAITING
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import AddressOf, PersonOf, SiteOf, new_router
from intu_fhir.web.api.values import (
    DEFAULT_LIMIT,
    MOST,
    After,
    Asked,
    KeyPath,
    Limit,
    Moment,
    NamePath,
    Page,
    Position,
    Text,
    Uid,
    Why,
)
from intu_fhir.web.http.needs import needs
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.pages.failures import find_cause, name_of
from intu_fhir.web.pages.search import position_in_time
from intu_fhir.web.removal import remove_object

DeliveryState = Annotated[
    str,
    Field(pattern=f"^({'|'.join((WAITING, RUNNING, RETRYING, DELIVERED, DEAD, HELD, FILTERED))})$"),
]


class DeliverySearch(Asked):
    """Which deliveries; what is left out does not matter."""

    study: Uid | None = None
    destination: Text | None = None
    state: list[DeliveryState] | None = Field(None, max_length=7)
    changed_from: Moment | None = None
    changed_to: Moment | None = None
    after: Position | None = Field(None, description="`next` of the page before.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MOST)


class CauseAnswer(BaseModel):
    """What fails at one place for one reason.

    ``name`` stands for it in addresses; ``remedy`` says what to do, empty where nobody knows.
    """

    name: str
    step: str
    destination: str
    cause: str
    dead: int
    retrying: int
    since: datetime | None
    newest: datetime
    example: str
    remedy: str


class Released(BaseModel):
    """That a hold was released."""

    released: bool


class Removed(BaseModel):
    """That an object is not in quarantine any more.

    ``file_removed`` is false where its file is removed later: a backup is being made, or the store
    does not answer.
    """

    removed: bool
    file_removed: bool


routes = new_router("queues")


@routes.get("/deliveries", dependencies=[needs(Role.VIEWER)])
def get_deliveries(
    request: Request, site: SiteOf, search: Annotated[DeliverySearch, Query()]
) -> Page[DeliveryRow]:
    """List deliveries, what changed last first."""
    wanted = DeliveryFilter(
        study_instance_uid=search.study,
        destination=search.destination or None,
        states=tuple(search.state) if search.state else None,
        updated_from=search.changed_from,
        updated_to=search.changed_to,
        after=position_in_time(search.after or ""),
        limit=search.limit + 1,
    )
    with site.database.read() as connection:
        found = list_deliveries(connection, wanted)
    rows = found[: search.limit]
    note_look(request, site, Action.QUERIED, what="deliveries", objects=len(rows))
    more = _position(rows[-1].updated_at, rows[-1].delivery_key) if len(found) > len(rows) else None
    return Page(items=rows, next=more)


@routes.get("/failures", dependencies=[needs(Role.VIEWER)])
def get_failures(site: SiteOf, destination: Text | None = None) -> list[CauseAnswer]:
    """List what fails now by place and cause, what concerns most first."""
    with site.database.read() as connection:
        return [_cause(one) for one in causes(connection, destination)]


@routes.get("/failures/{cause}", dependencies=[needs(Role.VIEWER)])
def get_failure(
    request: Request,
    site: SiteOf,
    cause: NamePath,
    after: After = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[FailureRow]:
    """List what fails for one cause, the newest first."""
    with site.database.read() as connection:
        known = find_cause(causes(connection), cause)
        if known is None:
            raise HTTPException(404, "nothing fails for this cause now; see GET /failures")
        found = failures_of(connection, known, after=after, limit=limit + 1)
    rows = found[:limit]
    note_look(request, site, Action.QUERIED, what="failures", objects=len(rows))
    return Page(items=rows, next=str(rows[-1].key) if len(found) > limit else None)


@routes.get("/holds", dependencies=[needs(Role.VIEWER)])
def get_holds(
    request: Request,
    site: SiteOf,
    study: Annotated[Uid | None, Query()] = None,
    released: bool = False,
    limit: Limit = DEFAULT_LIMIT,
) -> list[HoldRow]:
    """List what waits for a person's decision, the oldest first."""
    with site.database.read() as connection:
        rows = list_holds(connection, released=released, study_instance_uid=study, limit=limit)
    note_look(request, site, Action.QUERIED, what="holds", objects=len(rows))
    return rows


@routes.post("/holds/{key}/release", dependencies=[needs(Role.OPERATOR)])
def release_hold(site: SiteOf, person: PersonOf, address: AddressOf, key: KeyPath) -> Released:
    """Let a hold go; what it kept back is due, unless another hold keeps it still."""
    now = site.clock.now()
    with site.database.write() as connection:
        found = release(connection, key, by=person.name, now=now, address=address)
    if found is Release.NOT_OPEN:
        raise HTTPException(404, "there is no open hold of this key; see GET /api/v1/holds")
    if found is Release.NEEDS_REBUILD:
        raise HTTPException(409, "it goes when the study is built anew; replay with rebuild: true")
    return Released(released=True)


@routes.get("/quarantine", dependencies=[needs(Role.VIEWER)])
def get_quarantine(
    request: Request, site: SiteOf, reason: Text | None = None, limit: Limit = DEFAULT_LIMIT
) -> list[QuarantineRow]:
    """List objects that were kept but are not published, the newest first."""
    with site.database.read() as connection:
        rows = list_quarantine(connection, reason=reason, limit=limit)
    note_look(request, site, Action.QUERIED, what="quarantine", objects=len(rows))
    return rows


@routes.post("/quarantine/{key}/remove", dependencies=[needs(Role.ADMINISTRATOR)])
def remove_quarantined(
    site: SiteOf, person: PersonOf, address: AddressOf, key: KeyPath, why: Why | None = None
) -> Removed:
    """Remove an object from quarantine, and its file for good."""
    reason = why.reason if why else ""
    gone = remove_object(site, key, by=person.name, reason=reason, address=address)
    if gone is None:
        raise HTTPException(404, "there is no such object; see GET /api/v1/quarantine")
    return Removed(removed=True, file_removed=gone)


def _cause(one: Cause) -> CauseAnswer:
    values: dict[str, Any] = asdict(one)
    return CauseAnswer(**values, name=name_of(one), remedy=remedy_of(one.example))


def _position(at: datetime, key: int) -> str:
    microseconds = int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond
    return f"{microseconds}.{key}"
