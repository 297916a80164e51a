"""One study: its way, its content, what was published, and what a person can do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.db.awaited import awaited
from intu_fhir.db.holds import NEEDS_REBUILD, Release, release
from intu_fhir.db.instance_report import list_instances
from intu_fhir.db.reports import StudyRow, find_study
from intu_fhir.db.resources import find_resource
from intu_fhir.db.session import Connection
from intu_fhir.db.studies import demographics, request_settling
from intu_fhir.db.study_report import StudyReport, study_report
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.db.timeline import timeline
from intu_fhir.model.audit import Action
from intu_fhir.model.values import text
from intu_fhir.model.work import AGGREGATE, DEAD, RETRYING
from intu_fhir.web.access.roles import Role
from intu_fhir.web.difference import difference, pretty
from intu_fhir.web.fields import asked, number, one
from intu_fhir.web.http.identify import person_address
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.rendering import asker_of, page, site_of
from intu_fhir.web.routes import get, post
from intu_fhir.web.words import waits

INSTANCES = 200


class Remark(NamedTuple):
    """A finding, as it may be true of many series or instances."""

    severity: str
    code: str
    attribute: str
    message: str


def address(uid: str) -> str:
    """Return where a study is shown."""
    return f"/studies/{quote(uid, safe='')}"


def uid_of(request: Request) -> str:
    """Return the UID that the address names; it can only be compared with ours."""
    uid: str = request.path_params["uid"]
    return uid[:64].replace("\0", "")


def _report(request: Request) -> StudyReport:
    site = site_of(request)
    with site.database.snapshot() as connection:
        report = study_report(connection, uid_of(request))
    if report is None:
        raise HTTPException(404)
    uid = report.study.study_instance_uid
    note_look(request, site, Action.VIEWED, what=f"study {uid}", study=uid)
    return report


def show(request: Request) -> Response:
    """Show the study."""
    report = _report(request)
    study = report.study
    waiting = [row for row in report.work if row.step == AGGREGATE and row.want > row.have]
    states = {row.state for row in report.deliveries} | {row.state for row in report.work}
    site = site_of(request)
    with site.database.read() as connection:
        late = _waits_for(connection, study, site.clock.now())
        patient = demographics(connection, study.study_key)
    return page(
        request,
        "study.html",
        title=study.accession_number or study.study_instance_uid,
        report=report,
        study=study,
        born=text(patient, "PatientBirthDate"),
        sex=text(patient, "PatientSex"),
        meaning=STUDY_STATES[study.state],
        waits_for=late,
        events=timeline(report),
        findings=remarks(report),
        open_holds=[hold for hold in report.holds if hold.released_at is None],
        needs_rebuild=NEEDS_REBUILD,
        can_settle=bool(waiting),
        has_failed=bool(states & {DEAD, RETRYING}),
        address=address(study.study_instance_uid),
    )


def _waits_for(connection: Connection, study: StudyRow, now: datetime) -> str:
    """Say who keeps a study waiting that is on its way."""
    if study.state != "delivering":
        return ""
    found = awaited(connection, [study.study_key], now)
    return waits(found.get(study.study_key, ()))


def remarks(report: StudyReport) -> list[tuple[Remark, int]]:
    """Count the findings of the newest generation, the grave ones first."""
    newest = max((row.generation for row in report.resources), default=0)
    built = [row for row in report.resources if row.generation == newest]
    return counted(finding for row in built for finding in row.findings)


def counted(findings: Iterable[Mapping[str, str]]) -> list[tuple[Remark, int]]:
    """Count findings, the grave ones first."""
    found = Counter(Remark(*(one.get(key, "") for key in Remark._fields)) for one in findings)
    order = {"error": 0, "warning": 1}
    return sorted(found.items(), key=lambda one: (order.get(one[0].severity, 2), one[0]))


def show_series(request: Request) -> Response:
    """Show the instances of a series."""
    site, uid = site_of(request), uid_of(request)
    series_uid = request.path_params["series"][:64].replace("\0", "")
    with site.database.read() as connection:
        study = find_study(connection, uid)
        if study is None:
            raise HTTPException(404)
        after = number(asked(request, "after"))
        found = list_instances(
            connection, study.study_key, series_uid, after=after, limit=INSTANCES + 1
        )
    if not found and after is None:
        raise HTTPException(404)
    note_look(request, site, Action.VIEWED, what=f"series of {uid}", study=uid)
    rows = found[:INSTANCES]
    return page(
        request,
        "series.html",
        title="Series",
        study=study,
        address=address(uid),
        series_uid=series_uid,
        rows=rows,
        next_after=rows[-1].instance_key if len(found) > INSTANCES else "",
        is_first=after is None,
    )


def show_version(request: Request) -> Response:
    """Show one resource as built, and how it differs from another one."""
    report = _report(request)
    built = {row.resource_key: row for row in report.resources}
    key = number(request.path_params["key"]) or 0
    if key not in built:
        raise HTTPException(404)
    keys = sorted(built, key=lambda one: (built[one].generation, built[one].built_at))
    before = number(asked(request, "against"))
    if before is None:
        same = [one for one in keys[: keys.index(key)] if built[one].release == built[key].release]
        before = same[-1] if same else None
    site = site_of(request)
    with site.database.read() as connection:
        content = find_resource(connection, report.study.study_key, key)
        other = (
            find_resource(connection, report.study.study_key, before) if before in built else None
        )
    return page(
        request,
        "version.html",
        title="Version",
        study=report.study,
        address=address(report.study.study_instance_uid),
        row=built[key],
        others=[built[one] for one in keys if one != key],
        against=built.get(before) if before is not None else None,
        difference=difference(other, content) if other is not None else None,
        text=pretty(content) if content is not None else "",
    )


def settle(request: Request) -> Response:
    """Count the study as complete now."""
    site, uid = site_of(request), uid_of(request)
    person = asker_of(request).person
    assert person is not None
    now, where = site.clock.now(), person_address(request, site)
    with site.database.write() as connection:
        if find_study(connection, uid) is None:
            raise HTTPException(404)
        asked_for = request_settling(connection, uid, by=person.name, now=now, address=where)
    return RedirectResponse(f"{address(uid)}?said={'settling' if asked_for else 'settled'}", 303)


_SAID_OF_A_HOLD = {
    Release.RELEASED: "released",
    Release.ASKED_AGAIN: "asked-again",
    Release.NEEDS_REBUILD: "needs-rebuild",
    Release.NOT_OPEN: "not-held",
}


def release_hold(request: Request) -> Response:
    """Let a hold go by a person's decision."""
    site = site_of(request)
    person = asker_of(request).person
    hold_key = number(request.path_params["key"])
    if hold_key is None or person is None:
        raise HTTPException(404)
    now, where = site.clock.now(), person_address(request, site)
    with site.database.write() as connection:
        released = release(connection, hold_key, by=person.name, now=now, address=where)
    said = _SAID_OF_A_HOLD[released]
    back = one(request, "back")
    target = back if back.startswith("/studies/") else "/review"
    return RedirectResponse(f"{target}?said={said}", 303)


ROUTES = (
    get("/studies/{uid}", Role.VIEWER, show),
    get("/studies/{uid}/series/{series}", Role.VIEWER, show_series),
    get("/studies/{uid}/versions/{key}", Role.VIEWER, show_version),
    post("/studies/{uid}/settle", Role.OPERATOR, settle),
    post("/holds/{key}/release", Role.OPERATOR, release_hold),
)
