"""One study: its report, its instances, and settling it."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path, Request
from pydantic import BaseModel

from intu_fhir.db.instance_report import InstanceRow, list_instances
from intu_fhir.db.reports import find_study
from intu_fhir.db.studies import request_settling
from intu_fhir.db.study_report import StudyReport, study_report
from intu_fhir.db.timeline import Event, timeline
from intu_fhir.model.audit import Action
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import AddressOf, PersonOf, SiteOf, new_router
from intu_fhir.web.api.values import DEFAULT_LIMIT, After, Limit, Page, UidPath
from intu_fhir.web.context import Site
from intu_fhir.web.http.needs import needs
from intu_fhir.web.http.trail import note_look

UNKNOWN = "no study of this UID was ever received here; see GET /api/v1/studies"

SeriesPath = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[0-9.]+$", description="Series Instance UID.")
]


class StudyAnswer(BaseModel):
    """Everything that is known of a study; the timeline tells the same in order."""

    report: StudyReport
    timeline: list[Event]


class Settling(BaseModel):
    """Whether the study is settled next; false where it has settled already."""

    settling: bool


def report_of(request: Request, site: Site, uid: str) -> StudyReport:
    """Return the report of a study, and record that it was looked at.

    Raises:
        HTTPException: it was never received.
    """
    with site.database.snapshot() as connection:
        report = study_report(connection, uid)
    if report is None:
        raise HTTPException(404, UNKNOWN)
    note_look(request, site, Action.VIEWED, what=f"study {uid}", study=uid)
    return report


routes = new_router("study")


@routes.get("/studies/{uid}", dependencies=[needs(Role.VIEWER)])
def get_study(request: Request, site: SiteOf, uid: UidPath) -> StudyAnswer:
    """Return one study: series, senders, versions, findings, holds, deliveries, tries."""
    report = report_of(request, site, uid)
    return StudyAnswer(report=report, timeline=timeline(report))


@routes.get("/studies/{uid}/series/{series}/instances", dependencies=[needs(Role.VIEWER)])
def get_instances(
    request: Request,
    site: SiteOf,
    uid: UidPath,
    series: SeriesPath,
    after: After = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[InstanceRow]:
    """List the instances of a series in the order in which they came."""
    with site.database.read() as connection:
        study = find_study(connection, uid)
        if study is None:
            raise HTTPException(404, UNKNOWN)
        found = list_instances(connection, study.study_key, series, after=after, limit=limit + 1)
    note_look(request, site, Action.VIEWED, what=f"series of {uid}", study=uid)
    rows = found[:limit]
    more = str(rows[-1].instance_key) if len(found) > limit else None
    return Page(items=rows, next=more)


@routes.post("/studies/{uid}/settle", dependencies=[needs(Role.OPERATOR)])
def settle(site: SiteOf, person: PersonOf, address: AddressOf, uid: UidPath) -> Settling:
    """Count a study as complete now; it is published without waiting for its quiet time."""
    now = site.clock.now()
    with site.database.write() as connection:
        if find_study(connection, uid) is None:
            raise HTTPException(404, UNKNOWN)
        asked = request_settling(connection, uid, by=person.name, now=now, address=address)
    return Settling(settling=asked)
