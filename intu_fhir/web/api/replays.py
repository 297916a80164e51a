"""Replay: what it would do, then it is done, then how it goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import HTTPException
from pydantic import BaseModel, Field, StrictBool

from intu_fhir.db.failures import causes, states_of
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.model.work import (
    DEAD,
    DELIVER,
    DELIVERED,
    DONE,
    HELD,
    RETRYING,
    RUNNING,
    WAITING,
)
from intu_fhir.pipeline.replay import Replayed, ReplaySelection, chosen_rows, replay
from intu_fhir.web.access.roles import Person, Role
from intu_fhir.web.api.routing import AddressOf, PersonOf, SiteOf, new_router
from intu_fhir.web.api.values import Asked, Moment, NamePath, Text, Uid, Whole
from intu_fhir.web.context import Site
from intu_fhir.web.http.needs import NotAllowed, needs
from intu_fhir.web.pages.failures import find_cause
from intu_fhir.web.reading import reader_for
from intu_fhir.web.rendering import sql_role
from intu_fhir.web.replays import MOST_WATCHED, Watched

_State = Annotated[str, Field(pattern=f"^({DEAD}|{RETRYING}|{DELIVERED})$")]


class ReplayWish(Asked):
    """What to put back; at least one thing has to be chosen, or ``everything``.

    Args:
        cause: ``name`` of one of ``GET /failures``.
        where: an SQL predicate over the columns of ``intu-fhir replay --columns``; needs the role
            that may ask SQL, and is asked as the page asks SQL.
        rebuild: build again first, since the mapping changed.
        force: send again what the destination has.
        expected: how many the dry run told; where it is another number now, nothing is done.
    """

    study: Uid | None = None
    destination: Text | None = None
    states: list[_State] | None = Field(None, min_length=1, max_length=3)
    since: Moment | None = None
    until: Moment | None = None
    cause: Text | None = None
    where: str | None = Field(None, min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")
    everything: StrictBool = False
    rebuild: StrictBool = False
    force: StrictBool = False
    per_minute: float | None = Field(None, gt=0.01, le=1_000_000, strict=True)
    reason: str = Field("", max_length=500, pattern=r"^[^\x00]*$", description="For the trail.")
    expected: Whole | None = Field(None, ge=0)

    def objection(self) -> str:
        """Say what the command line would refuse; empty = nothing."""
        chosen = (
            self.study,
            self.destination,
            self.states,
            self.since,
            self.until,
            self.cause,
            self.where,
        )
        if not self.everything and not any(chosen):
            return "choose something, or say everything: true"
        if self.rebuild and (self.force or self.per_minute):
            return "rebuild goes with neither force nor per_minute"
        return ""


class Counted(BaseModel):
    """What is put back, and what is left alone, by reason."""

    deliveries: int
    steps: int
    studies: int
    left: dict[str, int]

    @property
    def total(self) -> int:
        """How many rows are put back."""
        return self.deliveries + self.steps + self.studies


class Begun(BaseModel):
    """A replay that has begun; ``number`` names it in ``GET /replays/{number}``."""

    number: str
    done: Counted


class Progress(BaseModel):
    """How a replay goes on; of a very large one some rows stand for all."""

    what: str
    by: str
    at: datetime
    count: int
    watched: int
    done: int
    ahead: int
    failing: int
    dead: int
    held: int


routes = new_router("replay")


@routes.post("/replays/dry-run", dependencies=[needs(Role.OPERATOR)])
def try_replay(site: SiteOf, person: PersonOf, wish: ReplayWish) -> Counted:
    """Say what a replay would put back and what it would leave alone; nothing happens."""
    selection = _selection(site, person, wish, sql_role(site.web))
    return _counted(replay(site.database, site.clock, replace(selection, dry_run=True)))


@routes.post("/replays", status_code=202, dependencies=[needs(Role.OPERATOR)])
def begin_replay(site: SiteOf, person: PersonOf, address: AddressOf, wish: ReplayWish) -> Begun:
    """Put deliveries and failed steps back; they become due at once, or at a pace.

    Never sends again what a destination has, unless `force`; never lets a held study go.
    """
    selection = _selection(site, person, wish, sql_role(site.web))
    selection = replace(selection, address=address)
    would = _counted(replay(site.database, site.clock, replace(selection, dry_run=True)))
    if wish.expected is not None and would.total != wish.expected:
        raise HTTPException(409, f"it would be {would.total} now; nothing was done")
    deliveries, steps = chosen_rows(site.database, selection)
    done = _counted(replay(site.database, site.clock, selection))
    watched = Watched(
        "by the API",
        person.name,
        site.clock.now(),
        len(deliveries) + len(steps),
        deliveries[:MOST_WATCHED],
        steps[:MOST_WATCHED],
    )
    return Begun(number=site.replays.keep(watched), done=done)


@routes.get("/replays/{number}", dependencies=[needs(Role.VIEWER)])
def get_replay(site: SiteOf, number: NamePath) -> Progress:
    """Say how a replay goes on; the newest ones are remembered until the page restarts."""
    watched = site.replays.find(number)
    if watched is None:
        raise HTTPException(404, "that replay is not remembered; see GET /api/v1/deliveries")
    return _progress(site, watched)


def _selection(site: Site, person: Person, wish: ReplayWish, sql: Role) -> ReplaySelection:
    if objection := wish.objection():
        raise HTTPException(400, objection)
    if wish.where is not None and not person.may(sql):
        raise NotAllowed(sql)
    reader = reader_for(site, person.role) if wish.where is not None else None
    wanted = ReplayFilter(
        study_instance_uid=wish.study,
        destination=wish.destination or None,
        states=tuple(wish.states) if wish.states else None,
        since=wish.since,
        until=wish.until,
        by_reception=wish.rebuild,
        where=wish.where,
        reader=reader,
    )
    if wish.cause:
        wanted = _for_cause(site, wanted, wish.cause)
    return ReplaySelection(
        wanted,
        rebuild=wish.rebuild,
        force=wish.force,
        per_minute=wish.per_minute,
        by=person.name,
        reason=wish.reason,
    )


def _for_cause(site: Site, wanted: ReplayFilter, name: str) -> ReplayFilter:
    with site.database.read() as connection:
        cause = find_cause(causes(connection), name)
    if cause is None:
        raise HTTPException(404, "nothing fails for this cause now; see GET /api/v1/failures")
    destination = cause.destination if cause.step == DELIVER else wanted.destination
    return replace(wanted, step=cause.step, destination=destination, cause=cause.cause)


def _counted(done: Replayed) -> Counted:
    return Counted(
        deliveries=done.deliveries, steps=done.steps, studies=done.studies, left=dict(done.left)
    )


def _progress(site: Site, watched: Watched) -> Progress:
    with site.database.read() as connection:
        states = states_of(connection, watched.delivery_keys, watched.work_keys)
    return Progress(
        what=watched.what,
        by=watched.by,
        at=watched.at,
        count=watched.count,
        watched=watched.watched,
        done=states[DELIVERED] + states[DONE],
        ahead=states[WAITING] + states[RUNNING],
        failing=states[RETRYING],
        dead=states[DEAD],
        held=states[HELD],
    )
