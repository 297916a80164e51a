"""The audit trail, for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, Field

from intu_fhir.db.audit_report import AuditFilter, AuditRow, list_audit
from intu_fhir.model.audit import Action, Actor, Outcome
from intu_fhir.web.access.roles import Role
from intu_fhir.web.api.routing import SiteOf, new_router
from intu_fhir.web.api.values import DEFAULT_LIMIT, MOST, Asked, Moment, Text, Uid
from intu_fhir.web.http.needs import needs
from intu_fhir.web.http.trail import note_look


class AuditSearch(Asked):
    """Which events; what is left out does not matter."""

    action: list[Action] | None = Field(None, max_length=30)
    outcome: Outcome | None = None
    actor: Text | None = None
    study: Uid | None = None
    destination: Text | None = None
    since: Moment | None = None
    until: Moment | None = Field(None, description="Before this; for the events before a page.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MOST)


class AuditAnswer(BaseModel):
    """One event; ``position`` is its place in the chain, null for some seconds."""

    event_id: str
    happened_at: datetime
    action: Action
    outcome: Outcome
    actor: str
    actor_kind: Actor
    address: str
    study_instance_uid: str
    association_id: str
    destination: str
    objects: int
    reason: str
    position: int | None
    hash: str


routes = new_router("audit")


@routes.get("/audit", dependencies=[needs(Role.ADMINISTRATOR)])
def get_audit(
    request: Request, site: SiteOf, search: Annotated[AuditSearch, Query()]
) -> list[AuditAnswer]:
    """List who did what, the newest first; that it was read is an event too."""
    wanted = AuditFilter(
        actions=tuple(search.action) if search.action else None,
        actor=search.actor or None,
        study_instance_uid=search.study,
        destination=search.destination or None,
        outcome=search.outcome,
        since=search.since,
        until=search.until,
    )
    note_look(request, site, Action.AUDIT_READ, what="audit")
    with site.database.read() as connection:
        return [_answer(row) for row in list_audit(connection, wanted, limit=search.limit)]


def _answer(row: AuditRow) -> AuditAnswer:
    return AuditAnswer(**{name: getattr(row, name) for name in AuditAnswer.model_fields})
