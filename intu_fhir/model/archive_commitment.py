"""What we ask of a PACS: its promise to keep what it was sent (PS3.4 annex J, as SCU)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from intu_fhir.model.commitment import FailureReason

# States of a request, as ``docs/reference/schema.md`` shows them. ``asking`` is on its way; where
# that lasts too long nobody knows whether the PACS has it.
PLANNED, ASKING, ASKED = "planned", "asking", "asked"
COMMITTED, FAILED, UNANSWERED = "committed", "failed", "unanswered"
REJECTED, DROPPED = "rejected", "dropped"
OPEN = (PLANNED, ASKING, ASKED)

# Where a delivery stands with it; empty = it was never asked for.
WANTED, KEPT, REFUSED, MISSING = "asked", "committed", "refused", "missing"

PROMISES: Mapping[str, str] = {
    WANTED: "asked to promise to keep it",
    KEPT: "promised to keep it",
    REFUSED: "does not promise to keep all of it",
    MISSING: "no promise to keep it",
}
"""Where a delivery stands with it, in words."""

_NAMELESS = "a reason that no standard names"


def reason_text(reason: int) -> str:
    """Return a Failure Reason as people read it, such as ``0112 no such object instance``."""
    known = reason in FailureReason.__members__.values()
    words = FailureReason(reason).name.replace("_", " ").lower() if known else _NAMELESS
    return f"{reason:04X} {words}"


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """An N-EVENT-REPORT-RQ as it was received (PS3.4 J.3.3).

    Args:
        calling_ae_title: who sends it.
        called_ae_title: to whom.
        read: gives its data set, the Event Information; megabytes that nobody holds in memory
            before they are needed. Raises StoreUnavailable.
    """

    calling_ae_title: str
    called_ae_title: str
    transfer_syntax_uid: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class AskClaim:
    """One request in hand.

    Args:
        number: of this try to get a promise for the same instances, from 1.
        attempts: tries to send it that did not reach the PACS.
        fence: number of this claim; with an older one nothing can be written.
    """

    key: int
    delivery_key: int
    transaction_uid: str
    number: int
    attempts: int
    fence: int


@dataclass(frozen=True, slots=True)
class NextTry:
    """What follows where a promise was not given.

    Args:
        max_tries: requests for the same instances, after which a person is asked.
    """

    max_tries: int
    error: str


@dataclass(frozen=True, slots=True)
class Closed:
    """How a request ended.

    Args:
        state: ``committed``, ``failed``, ``unanswered`` or ``rejected``.
        committed: instances promised by this answer, and not before.
        failed: instances refused by it.
        foreign: instances it names that were never sent there for this study.
        first: False where it had ended before, so that nothing follows.
        given_up: a person is asked.
        kept: the PACS has now promised all that it was sent of this study.
    """

    destination: str
    study_instance_uid: str
    state: str
    committed: int = 0
    failed: int = 0
    foreign: int = 0
    first: bool = True
    given_up: bool = False
    kept: bool = False
    reasons: tuple[int, ...] = ()
