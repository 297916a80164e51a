"""Storage commitment: who asks for what to be kept, and what is promised (PS3.4 annex J)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from intu_fhir.model.instance import Origin

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs of a result (PS3.4 table J.3-4)."""

# States of a request, as ``docs/reference/schema.md`` shows them.
ASKED, CHECKED, REPORTED, UNREPORTED = "asked", "checked", "reported", "unreported"


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) of an instance that is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class ReferencedInstance:
    """One item of a Referenced SOP Sequence (0008,1199)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """An N-ACTION-RQ as it was received (PS3.4 J.3.2).

    Args:
        action_information: its data set.
    """

    origin: Origin
    transfer_syntax_uid: str
    action_information: bytes


@dataclass(frozen=True, slots=True)
class CommitmentAsked:
    """What an Action Information asks for."""

    transaction_uid: str
    instances: tuple[ReferencedInstance, ...]


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """What an Event Information tells (PS3.4 J.3.3): every instance asked for is in it once.

    Args:
        failed: those that are not committed, and why.
    """

    transaction_uid: str
    committed: tuple[ReferencedInstance, ...]
    failed: tuple[tuple[ReferencedInstance, int], ...] = ()

    @property
    def event_type_id(self) -> int:
        """Return 1 where all instances are committed, else 2."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


@dataclass(frozen=True, slots=True)
class CommitmentClaim:
    """One request in hand.

    Args:
        requester: AE title that asked.
        called: AE title that it asked.
        fence: number of this claim; with an older one nothing can be written.
        attempts: failed tries to report the result so far.
    """

    key: int
    transaction_uid: str
    requester: str
    called: str
    association_id: str
    is_repeat: bool
    fence: int
    attempts: int
    claimed_at: datetime
