"""Requests for storage commitment, and what was promised."""

from __future__ import annotations

from typing import Annotated

from fastapi import HTTPException, Path
from pydantic import BaseModel, Field

from intu_fhir.db.commitment_report import (
    CommitmentItem,
    CommitmentRow,
    list_commitments,
    list_items,
)
from intu_fhir.db.commitment_upkeep import tell_again
from intu_fhir.model.commitment import STATES
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import AddressOf, PersonOf, SiteOf, new_router
from intu_fhir.web.api.values import DEFAULT_LIMIT, Limit, Text
from intu_fhir.web.http.needs import needs

CommitmentState = Annotated[str, Field(pattern=f"^({'|'.join(STATES)})$")]
TransactionPath = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[0-9.]+$", description="Transaction UID.")
]


class Retried(BaseModel):
    """How many results are told again."""

    retried: int


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


@routes.post("/commitments/{uid}/retry", dependencies=[needs(Role.OPERATOR)])
def retry_commitment(
    site: SiteOf, person: PersonOf, address: AddressOf, uid: TransactionPath
) -> Retried:
    """Have a result told again that was given up; its instances are looked at anew first."""
    now = site.clock.now()
    with site.database.write() as connection:
        count = tell_again(connection, now, by=person.name, address=address, transactions=[uid])
    if not count:
        raise HTTPException(404, "none of this UID was given up; see GET /api/v1/commitments")
    return Retried(retried=count)
