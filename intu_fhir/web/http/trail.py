"""What the web page writes into the audit trail: who looked at what, who did what."""

from __future__ import annotations

from starlette.requests import Request

from intu_fhir.db.audit import record_audit
from intu_fhir.model.audit import Action, AuditEvent, Outcome
from intu_fhir.web.context import Site
from intu_fhir.web.http.identify import person_address

BACKGROUND = "x-fragment"
"""Header of a question that the page asks by itself; it does not keep a visit alive."""


def event_of(
    request: Request,
    site: Site,
    action: Action,
    *,
    study: str = "",
    destination: str = "",
    objects: int = 0,
    reason: str = "",
    outcome: Outcome = Outcome.SUCCESS,
    actor: str = "",
) -> AuditEvent:
    """Return an event by whoever asks."""
    person = request.state.asker.person
    return AuditEvent(
        action,
        site.clock.now(),
        actor or (person.name if person else ""),
        address=person_address(request, site),
        study_instance_uid=study,
        destination=destination,
        objects=objects,
        reason=reason,
        outcome=outcome,
    )


def note(site: Site, *events: AuditEvent) -> None:
    """Write events down in a transaction of their own.

    Raises:
        StoreUnavailable: they could not be written; then nothing may be shown either.
    """
    with site.database.write() as connection:
        record_audit(connection, *events)


def note_look(
    request: Request, site: Site, action: Action, *, what: str, study: str = "", objects: int = 0
) -> None:
    """Write down that somebody has looked, once for a page that renews itself.

    Args:
        what: what was looked at, for telling looks apart.
    """
    asker = request.state.asker
    who = asker.visit.id if asker.visit else f"token:{asker.person.name if asker.person else ''}"
    is_new = site.looks.is_new(who, what, site.clock.now())
    if is_new or BACKGROUND not in request.headers:
        note(site, event_of(request, site, action, study=study, objects=objects, reason=what))
