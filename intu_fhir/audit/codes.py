"""Which event of the standards an action of ours is (PS3.15 A.5.3, PS3.16 CID 400 to 403)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intu_fhir.model.audit import Action, Outcome

DCM = "DCM"
OURS = "99INTU"
"""Names a coding scheme of our own (PS3.16 8.2: such names begin with 99)."""

OURS_URI = "urn:intu-fhir:audit-action"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept."""

    value: str
    meaning: str
    scheme: str = DCM


@dataclass(frozen=True, slots=True)
class Event:
    """How an action is told.

    Args:
        id: EventID, and AuditEvent.type.
        kind: EventActionCode: C(reate), R(ead), U(pdate), D(elete), E(xecute).
        types: EventTypeCode beside our own, and AuditEvent.subtype.
        life_cycle: ParticipantObjectDataLifeCycle of the study.
    """

    id: Code
    kind: str
    types: tuple[Code, ...] = ()
    life_cycle: str = ""


_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
_APPLICATION = Code("110100", "Application Activity")
_AUTHENTICATION = Code("110114", "User Authentication")
_ALERT = Code("110113", "Security Alert")
_USER_CHANGED = Code("110137", "User Security Attributes Changed")


def own(action: str) -> Code:
    """Return our own code of an action."""
    return Code(action, action.replace("_", " ").capitalize(), OURS)


def _ours(action: Action, kind: str) -> Event:
    return Event(own(action), kind)


EVENTS: Mapping[Action, Event] = {
    Action.ACCEPTED: Event(_TRANSFERRED, "C", life_cycle="2"),
    Action.ALREADY_STORED: _ours(Action.ALREADY_STORED, "R"),
    Action.QUARANTINED: _ours(Action.QUARANTINED, "C"),
    Action.REFUSED: _ours(Action.REFUSED, "E"),
    Action.PUBLISHED: Event(Code("110106", "Export"), "R", life_cycle="10"),
    Action.FORWARDED: Event(_TRANSFERRED, "R", life_cycle="10"),
    Action.SETTLED: _ours(Action.SETTLED, "E"),
    Action.RELEASED: _ours(Action.RELEASED, "E"),
    Action.REPLAYED: _ours(Action.REPLAYED, "E"),
    Action.REBUILT: _ours(Action.REBUILT, "E"),
    Action.VIEWED: Event(Code("110103", "DICOM Instances Accessed"), "R", life_cycle="6"),
    Action.QUERIED: Event(Code("110112", "Query"), "E"),
    Action.EXPORTED: Event(Code("110106", "Export"), "R", life_cycle="10"),
    Action.AUDIT_READ: Event(Code("110101", "Audit Log Used"), "R"),
    Action.DELETED: Event(Code("110105", "DICOM Study Deleted"), "D", life_cycle="15"),
    Action.HEADERS_REMOVED: _ours(Action.HEADERS_REMOVED, "D"),
    Action.ATTEMPTS_REMOVED: _ours(Action.ATTEMPTS_REMOVED, "D"),
    Action.AUDIT_REMOVED: _ours(Action.AUDIT_REMOVED, "D"),
    Action.PAUSED: _ours(Action.PAUSED, "E"),
    Action.RESUMED: _ours(Action.RESUMED, "E"),
    Action.RETIRED: _ours(Action.RETIRED, "E"),
    Action.CHANGED: Event(_ALERT, "E", (Code("110131", "Software Configuration"),)),
    Action.GRANTED: Event(_ALERT, "E", (_USER_CHANGED,)),
    Action.REVOKED: Event(_ALERT, "E", (_USER_CHANGED,)),
    Action.SIGNED_IN: Event(_AUTHENTICATION, "E", (Code("110122", "Login"),)),
    Action.SIGNED_OUT: Event(_AUTHENTICATION, "E", (Code("110123", "Logout"),)),
    Action.STARTED: Event(_APPLICATION, "E", (Code("110120", "Application Start"),)),
    Action.STOPPED: Event(_APPLICATION, "E", (Code("110121", "Application Stop"),)),
}
"""What has no event in the standard gets a code of ours: better than a wrong one of theirs."""

INCOMING = frozenset({Action.ACCEPTED, Action.ALREADY_STORED, Action.QUARANTINED, Action.REFUSED})
"""Actions in which we are the destination."""

OUTCOMES: Mapping[Outcome, str] = {
    Outcome.SUCCESS: "0",
    Outcome.MINOR: "4",
    Outcome.SERIOUS: "8",
    Outcome.MAJOR: "12",
}

APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
STUDY_UID = Code("110180", "Study Instance UID")
