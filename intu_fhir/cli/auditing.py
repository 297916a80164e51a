"""Tells the audit trail what a person did or saw at the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intu_fhir.cli.program import say
from intu_fhir.errors import IntuError
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login

if TYPE_CHECKING:
    from intu_fhir.db.session import Database


def tell_audit(
    database: Database,
    action: Action,
    *,
    study: str = "",
    objects: int = 0,
    reason: str = "",
) -> None:
    """Record what the person who is logged in is shown, before it is shown.

    A database that cannot be written to (full, or open for reading only) is no reason to keep
    somebody who has to mend it in the dark; it is said instead.
    """
    from intu_fhir.db.audit import record_and_seal

    event = AuditEvent(
        action,
        SystemClock().now(),
        actor=login(),
        study_instance_uid=study,
        objects=objects,
        reason=reason,
    )
    try:
        record_and_seal(database, event)
    except IntuError as error:
        say(f"The audit trail does not know of this: {error}", stderr=True)
