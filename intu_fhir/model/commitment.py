"""Storage commitment: who asks for what to be kept, and what is promised (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from intu_fhir.model.instance import Origin

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs of a result (PS3.4 table J.3-4)."""

# States of a request, as ``docs/reference/schema.md`` shows them.
RECEIVED, ASKED, CHECKED = "received", "asked", "checked"
REPORTED, UNREPORTED = "reported", "unreported"
STATES = (RECEIVED, ASKED, CHECKED, REPORTED, UNREPORTED)


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) of an instance that is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


class ReferencedInstance(NamedTuple):
    """One item of a Referenced SOP Sequence (0008,1199)."""

    sop_class_uid: str
    sop_instance_uid: str


class Requester(NamedTuple):
    """Who asks, and of whom: the same AE title on another channel is somebody else."""

    channel: str
    called_ae_title: str
    calling_ae_title: str

    @classmethod
    def of(cls, origin: Origin) -> Requester:
        """Return who is behind an association."""
        return cls(origin.channel, origin.called_ae_title, origin.calling_ae_title)


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """An N-ACTION-RQ as it was received (PS3.4 J.3.2).

    Args:
        read: gives its data set, the Action Information; megabytes that nobody holds in memory
            before they are needed. Raises StoreUnavailable.
    """

    origin: Origin
    transfer_syntax_uid: str
    read: Callable[[], bytes]


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
    def number_of_instances(self) -> int:
        """Return how many instances it tells of."""
        return len(self.committed) + len(self.failed)

    @property
    def event_type_id(self) -> int:
        """Return 1 where all instances are committed, else 2."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


@dataclass(frozen=True, slots=True)
class CommitmentClaim:
    """One request in hand.

    Args:
        requester: who asked, and of whom.
        asked_at: when it was asked, by its requester or once more by a person.
        fence: number of this claim; with an older one nothing can be written.
        attempts: failed tries to report the result so far.
        reached: number of the last instance that was listed or looked at.
        checked_at: when the last of its instances was looked at.
        holds_until: until when the result may be told as it is.
    """

    key: int
    transaction_uid: str
    requester: Requester
    association_id: str
    asked_at: datetime
    is_repeat: bool
    fence: int
    attempts: int
    number_of_instances: int
    reached: int
    checked_at: datetime | None
    holds_until: datetime | None
    claimed_at: datetime
