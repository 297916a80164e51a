"""Studies: the list, and the search. What identifies a patient comes in a body alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from pydantic import Field

from intu_fhir.db.reports import StudyFilter, StudyRow, page_of_studies
from intu_fhir.model.audit import Action
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import SiteOf, new_router
from intu_fhir.web.api.values import (
    DEFAULT_LIMIT,
    MOST,
    Asked,
    Day,
    Moment,
    Page,
    Position,
    StudyState,
    Text,
    Whole,
)
from intu_fhir.web.context import Site
from intu_fhir.web.http.needs import needs
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.pages.search import beginning, pager, position_in


class OpenSearch(Asked):
    """What may stand in an address; what is left out does not matter."""

    state: StudyState | None = None
    modality: Text | None = None
    channel: Text | None = None
    calling_ae_title: Text | None = None
    destination: Text | None = None
    study_date_from: Day | None = None
    study_date_to: Day | None = None
    received_from: Moment | None = Field(None, description="Its last instance came then or later.")
    received_to: Moment | None = Field(None, description="Its last instance came before.")
    after: Position | None = Field(None, description="`next` of the page before.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MOST)


class StudySearch(OpenSearch):
    """Everything that can be searched for; `*` stands for any text, `?` for any character."""

    limit: Whole = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    patient_id: Text | None = None
    patient_name: Text | None = Field(None, description="Its beginning; case does not count.")
    accession_number: Text | None = None

    def filter(self) -> StudyFilter:
        """Return the same for the read model, with a row more to see whether there are more."""
        by_date = self.study_date_from is not None or self.study_date_to is not None
        wanted = self.model_dump(exclude={"after", "limit", "patient_name"})
        wanted = {name: value if value != "" else None for name, value in wanted.items()}
        return StudyFilter(
            **wanted,
            patient_name=beginning(self.patient_name or ""),
            after=position_in(self.after or "", by_date=by_date),
            limit=self.limit + 1,
        )


routes = new_router("studies")


@routes.get("/studies", dependencies=[needs(Role.VIEWER)])
def get_studies(
    request: Request, site: SiteOf, search: Annotated[OpenSearch, Query()]
) -> Page[StudyRow]:
    """List studies, the one that received last first; by study date where one is asked for.

    A page may be short, even empty, where much had to be looked through: go on by `next`.

    An address is written to logs, so it takes nothing that identifies a patient: send that to
    `POST /api/v1/search`.
    """
    return _found(request, site, StudySearch(**search.model_dump()))


@routes.post("/search", dependencies=[needs(Role.VIEWER)])
def search_studies(request: Request, site: SiteOf, search: StudySearch) -> Page[StudyRow]:
    """Search studies, also by patient and accession number; nothing is changed."""
    return _found(request, site, search)


def _found(request: Request, site: Site, search: StudySearch) -> Page[StudyRow]:
    wanted = search.filter()
    with site.database.read() as connection:
        found = pager(page_of_studies(connection, wanted), wanted)
    note_look(request, site, Action.QUERIED, what="studies", objects=len(found.rows))
    return Page(items=list(found.rows), next=found.next_after or None)
