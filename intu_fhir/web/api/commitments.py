"""Requests for storage commitment, and what was promised."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path
from pydantic import Field

from intu_fhir.db.commitments import CommitmentItem, CommitmentRow, list_commitments, list_items
from intu_fhir.model.commitment import ASKED, CHECKED, REPORTED, UNREPORTED
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import SiteOf, new_router
from intu_fhir.web.api.values import DEFAULT_LIMIT, Limit, Text
from intu_fhir.web.http.needs import needs

CommitmentState = Annotated[
    str, Field(pattern=f"^({'|'.join((ASKED, CHECKED, REPORTED, UNREPORTED))})$")
]
TransactionPath = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[0-9.]+$", description="Transaction UID.")
]

routes = new_router("commitments")


@routes.get("/commitments", dependencies=[needs(Role.VIEWER)])
def get_commitments(
    site: SiteOf,
    state: CommitmentState | None = None,
    requester: Text | None = None,
    limit: Limit = DEFAULT_LIMIT,
) -> list[CommitmentRow]:
    """List requests for storage commitment, the newest first."""
    with site.database.read() as connection:
        return list_commitments(connection, state=state, requester=requester, limit=limit)


@routes.get("/commitments/{uid}", dependencies=[needs(Role.VIEWER)])
def get_commitment(site: SiteOf, uid: TransactionPath) -> list[CommitmentItem]:
    """List every instance of one transaction and what was promised of it."""
    with site.database.read() as connection:
        rows = list_items(connection, uid)
    if not rows:
        raise HTTPException(404, "no request has this UID; see GET /api/v1/commitments")
    return rows
