"""What the application hands to a listener, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.model.instance import Accepted, Disposition, Origin, ReceivedObject


class Accept(Protocol):
    """Makes an object durable; called by several associations at once."""

    def __call__(self, received: ReceivedObject) -> Accepted:
        """Take the spool file over and return when the object is durable.

        Raises:
            StoreUnavailable: disk or database cannot take it now.
            Busy: as many are being read as a setting allows.
            InvalidDataSet: it is not a readable data set, or passes a limit (``LimitPassed``).
            IdentityMismatch: it is not what its command announced.
            InvalidUid: a UID is missing or invalid.
        """
        ...


class Commit(Protocol):
    """Takes requests for storage commitment; called by several associations at once."""

    def __call__(self, request: CommitmentRequest) -> None:
        """Return when the request is durable.

        Raises:
            InvalidDataSet: it cannot be read.
            LimitPassed: it asks for too much.
            StoreUnavailable: it cannot be taken now.
        """
        ...


class Hear(Protocol):
    """Takes results of storage commitment that we asked for; called by several associations."""

    def __call__(self, answer: CommitmentAnswer) -> None:
        """Return when the result is durable.

        Raises:
            InvalidDataSet: it cannot be read, or is of no request of ours.
            NotAuthorized: somebody else was asked.
            StoreUnavailable: it cannot be taken now.
        """
        ...


class EndReason(StrEnum):
    """How a connection ended; REJECTED ones had no association."""

    REJECTED = "rejected"
    RELEASED = "released"
    ABORTED_BY_PEER = "aborted_by_peer"
    ABORTED_BY_US = "aborted_by_us"
    CONNECTION_LOST = "connection_lost"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"


class AssociationEnded(Protocol):
    """Is told once of every association that was accepted, when nothing more comes of it."""

    def __call__(self, origin: Origin, reason: str, counts: Mapping[Disposition, int]) -> None:
        """Take note; ``reason`` is an ``EndReason``, ``counts`` are answered objects."""
        ...


@dataclass(frozen=True, slots=True)
class StopReport:
    """What stopping a listener interrupted.

    Args:
        idle: associations that were between two messages.
        finished: associations that were allowed to finish the object in hand.
        cut: associations that were ended within an object when the grace was over.
        stuck: ids of associations whose object is still being stored; if the process ends before
            that does, the sender has no answer and will send it again.
    """

    channel: str
    idle: int = 0
    finished: int = 0
    cut: int = 0
    stuck: tuple[str, ...] = ()
