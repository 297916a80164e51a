"""What the audit trail says: who did what, to which study, when, why, and with what outcome."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

_NAMES = uuid.UUID("6c1f4b0e-6a55-4a8e-9a3b-2f0c7f2a7d11")
"""Names events of which there can be only one; chosen once, never changed."""


class Action(StrEnum):
    """What happened; ``intu_fhir.audit.codes`` says which event of the standards it is."""

    ACCEPTED = "accepted"
    ALREADY_STORED = "already_stored"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    PUBLISHED = "published"
    FORWARDED = "forwarded"
    SETTLED = "settled"
    RELEASED = "released"
    REPLAYED = "replayed"
    REBUILT = "rebuilt"
    VIEWED = "viewed"
    QUERIED = "queried"
    EXPORTED = "exported"
    AUDIT_READ = "audit_read"
    DELETED = "deleted"
    HEADERS_REMOVED = "headers_removed"
    ATTEMPTS_REMOVED = "attempts_removed"
    AUDIT_REMOVED = "audit_removed"
    PAUSED = "paused"
    RESUMED = "resumed"
    RETIRED = "retired"
    CHANGED = "changed"
    GRANTED = "granted"
    REVOKED = "revoked"
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    STARTED = "started"
    STOPPED = "stopped"


class Actor(StrEnum):
    """What kind of actor it was."""

    PERSON = "person"
    DEVICE = "device"
    PROGRAM = "program"


class Outcome(StrEnum):
    """How it ended; the four of DICOM PS3.15 A.5.1 (EventOutcomeIndicator) and of FHIR R4."""

    SUCCESS = "success"
    MINOR = "minor"
    SERIOUS = "serious"
    MAJOR = "major"


def once(*names: str) -> str:
    """Return the id of an event of which there is only one by these names.

    Recording it twice, since a transaction was tried again, leaves one row.
    """
    return str(uuid.uuid5(_NAMES, "\0".join(names)))


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened.

    Args:
        actor: who: a person's login, an AE title, or the name of a process of ours.
        address: network address the actor came from, where one is known.
        study_instance_uid: the study, where it is about one.
        association_id: the association or import, where it is about one.
        destination: name of the destination in the configuration, where it is about one.
        objects: how many it was about: instances, deliveries, or rows that were shown.
        reason: why, or what the far side said; no patient data.
        event_id: a UUID; see ``once``.
    """

    action: Action
    at: datetime
    actor: str
    actor_kind: Actor = Actor.PERSON
    address: str = ""
    outcome: Outcome = Outcome.SUCCESS
    study_instance_uid: str = ""
    association_id: str = ""
    destination: str = ""
    objects: int = 0
    reason: str = ""
    event_id: str = field(default_factory=_new_id)
