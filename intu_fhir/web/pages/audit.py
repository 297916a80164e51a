"""The audit trail, for administrators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.audit_report import AuditFilter, list_audit
from intu_fhir.model.audit import Action, Outcome
from intu_fhir.web.access.roles import Role
from intu_fhir.web.fields import asked
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.rendering import page, site_of
from intu_fhir.web.routes import get

MOST = 200


def show(request: Request) -> Response:
    """Show events, the newest first."""
    site = site_of(request)
    action, outcome = asked(request, "action"), asked(request, "outcome")
    day = _day(asked(request, "day"))
    wanted = AuditFilter(
        actions=(action,) if action in set(Action) else None,
        actor=asked(request, "actor") or None,
        study_instance_uid=asked(request, "study") or None,
        outcome=outcome if outcome in set(Outcome) else None,
        since=day,
        until=day + timedelta(days=1) if day else None,
    )
    note_look(request, site, Action.AUDIT_READ, what="audit")
    with site.database.read() as connection:
        rows = list_audit(connection, wanted, limit=MOST)
    names = ("action", "outcome", "actor", "study", "day")
    return page(
        request,
        "audit.html",
        title="Audit",
        rows=rows,
        most=MOST,
        actions=list(Action),
        outcomes=list(Outcome),
        values={name: asked(request, name) for name in names},
    )


def _day(text: str) -> datetime | None:
    """Read a day in the zone of this machine."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None


ROUTES = (get("/audit", Role.ADMINISTRATOR, show),)
