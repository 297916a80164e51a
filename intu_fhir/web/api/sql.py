"""SQL of a person's own: read-only, bounded in rows, size and time."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from intu_fhir.app.exporting import readable
from intu_fhir.model.audit import Action
from intu_fhir.settings.web import Web
from intu_fhir.web.api.routing import PersonOf, SiteOf, new_router
from intu_fhir.web.api.values import Asked, Whole
from intu_fhir.web.http.needs import needs
from intu_fhir.web.pages.sql import MAX_STATEMENT, ask, record
from intu_fhir.web.rendering import sql_role


class Statement(Asked):
    """One SELECT; ``max_rows`` is at most what the configuration allows for a download."""

    statement: str = Field(min_length=1, max_length=MAX_STATEMENT, pattern=r"^[^\x00]*$")
    max_rows: Whole = Field(500, ge=1, le=100_000)


class Rows(BaseModel):
    """What a statement gave; ``has_more`` where rows were left out.

    Bytes are hexadecimal; JSON of the database is text.
    """

    columns: list[str]
    rows: list[list[Any]]
    has_more: bool


def router(web: Web) -> APIRouter:
    """Return the routes; the configuration says which role they need."""
    routes = new_router("sql")

    @routes.post("/sql", dependencies=[needs(sql_role(web))])
    def run_sql(request: Request, site: SiteOf, person: PersonOf, asked: Statement) -> Rows:
        """Ask the staging database; the database itself makes sure that it only reads."""
        limit = min(asked.max_rows, site.web.sql.max_download_rows)
        answer = ask(site, person.role, asked.statement, limit)
        rows = [[_plain(value) for value in row] for row in answer.rows]
        record(request, site, Action.QUERIED, answer, "sql")
        return Rows(columns=list(answer.columns), rows=rows, has_more=answer.has_more)

    return routes


def _plain(value: Any) -> Any:
    """Return what JSON can hold; a number that it can not hold becomes text."""
    value = readable(value)
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return str(value)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
