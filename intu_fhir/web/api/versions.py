"""What was published of a study, what differs between two versions, and what would come next."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import HTTPException, Query, Request
from pydantic import BaseModel

from intu_fhir.app.previewing import preview_study, release_taken
from intu_fhir.db.resources import find_resource
from intu_fhir.db.study_report import ResourceRow, StudyReport
from intu_fhir.mappings import Release
from intu_fhir.model.audit import Action
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import SiteOf, new_router
from intu_fhir.web.api.study import UNKNOWN, report_of
from intu_fhir.web.api.values import KeyPath, Text, UidPath
from intu_fhir.web.context import Site
from intu_fhir.web.difference import Difference, difference
from intu_fhir.web.http.needs import needs
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.pages.preview import mappings_of

Against = Annotated[
    int, Query(ge=0, le=2**63 - 1, description="`resource_key` of the version to compare with.")
]


class Version(BaseModel):
    """One ImagingStudy as it was built."""

    row: ResourceRow
    resource: dict[str, Any]


class PreviewAnswer(BaseModel):
    """A study as it would be published now; nothing was sent.

    ``resource`` is null where none could be built; ``differs`` is null where none was built before.
    """

    state: str
    findings: list[dict[str, str]]
    resource: dict[str, Any] | None
    differs: Difference | None


class Mappings(BaseModel):
    """Mapping files that lie beside the channels, by the name to give as `mapping`."""

    names: list[str]


routes = new_router("versions")


@routes.get("/studies/{uid}/versions/{key}", dependencies=[needs(Role.VIEWER)])
def get_version(request: Request, site: SiteOf, uid: UidPath, key: KeyPath) -> Version:
    """Return one resource as built; `key` is its `resource_key` in the study's report."""
    report = report_of(request, site, uid)
    return Version(row=_row(report, key), resource=_content(site, report, key))


@routes.get("/studies/{uid}/versions/{key}/difference", dependencies=[needs(Role.VIEWER)])
def get_difference(
    request: Request, site: SiteOf, uid: UidPath, key: KeyPath, against: Against
) -> Difference:
    """Return what differs between two versions, from `against` to this one."""
    report = report_of(request, site, uid)
    before, after = (_content(site, report, one) for one in (against, key))
    return difference(before, after)


@routes.get("/mappings", dependencies=[needs(Role.VIEWER)])
def get_mappings(site: SiteOf) -> Mappings:
    """List the mappings that a preview can be made with."""
    return Mappings(names=list(mappings_of(site.configuration)))


@routes.get("/studies/{uid}/preview", dependencies=[needs(Role.VIEWER)])
def get_preview(
    request: Request,
    site: SiteOf,
    uid: UidPath,
    release: Release | None = None,
    mapping: Text | None = None,
) -> PreviewAnswer:
    """Build a study as it is staged now, also by a mapping that nobody uses yet.

    Without ``release`` in the one that all destinations take.
    """
    known = mappings_of(site.configuration)
    if mapping is not None and mapping not in known:
        raise HTTPException(404, "no mapping of this name; see GET /api/v1/mappings")
    file = known[mapping] if mapping is not None else None
    wanted = release or release_taken(site.configuration)
    preview = preview_study(site.app, uid, release=wanted, mapping=file)
    if preview is None:
        raise HTTPException(404, UNKNOWN)
    note_look(request, site, Action.VIEWED, what=f"preview of {uid}", study=uid)
    built, before = preview.built, preview.published
    differs = difference(before, built.resource) if before and built.resource else None
    return PreviewAnswer(
        state=built.state,
        findings=[one.as_dict() for one in built.findings],
        resource=built.resource,
        differs=differs,
    )


def _row(report: StudyReport, key: int) -> ResourceRow:
    """Return a version of the report.

    Raises:
        HTTPException: the study has none of this key.
    """
    for row in report.resources:
        if row.resource_key == key:
            return row
    raise HTTPException(404, "the study has no such version; its report lists them")


def _content(site: Site, report: StudyReport, key: int) -> dict[str, Any]:
    _row(report, key)
    with site.database.read() as connection:
        content = find_resource(connection, report.study.study_key, key)
    if content is None:
        raise HTTPException(404, "nothing could be built then; the findings say why")
    return content
