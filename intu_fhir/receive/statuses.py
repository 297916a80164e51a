"""What a C-STORE is answered with (PS3.4 B.2.3, PS3.7 annex C): one table, no branches.

The comments are fixed texts: an answer tells a peer neither paths nor values.
"""

from __future__ import annotations

from dataclasses import dataclass

from intu_fhir.errors import (
    Busy,
    IdentityMismatch,
    InvalidDataSet,
    InvalidUid,
    LimitPassed,
    NotAuthorized,
    StoreUnavailable,
    TransientError,
)
from intu_fhir.model.instance import Accepted, Disposition
from intu_fhir.receive.dimse import SUCCESS, Answer

_SOP_CLASS, _SOP_INSTANCE = 0x0008_0016, 0x0008_0018
_COMMAND_SOP_CLASS, _COMMAND_SOP_INSTANCE = 0x0000_0002, 0x0000_1000
_COMMAND_FIELD, _DATA_SET_TYPE = 0x0000_0100, 0x0000_0800

PROCESSING_FAILURE = Answer(0x0110, "Internal error; see the receiver's log")
INVALID_INSTANCE = Answer(
    0x0117, "SOP Instance UID is missing or not a UID", (_COMMAND_SOP_INSTANCE,)
)
SOP_CLASS_NOT_SUPPORTED = Answer(
    0x0122, "This context does not serve that command", (_COMMAND_SOP_CLASS,)
)
UNRECOGNIZED_OPERATION = Answer(0x0211, "This command is not served here", (_COMMAND_FIELD,))
MISTYPED_ARGUMENT = Answer(0x0212, "This command has no data set", (_DATA_SET_TYPE,))
LOW_ON_SPACE = Answer(0xA700, "Low on disk space; send again later")
OBJECT_TOO_LARGE = Answer(0xA700, "Object is larger than this receiver takes")
CONTEXT_MISMATCH = Answer(
    0xA900, "SOP Class is not that of the presentation context", (_COMMAND_SOP_CLASS,)
)
NO_SUCH_INSTANCE = Answer(0x0112, "Storage commitment has another SOP Instance UID")
NO_SUCH_CLASS = Answer(0x0118, "SOP Class is not that of the presentation context")
NO_SUCH_ACTION = Answer(0x0123, "Storage commitment has action type 1 only")
INVALID_ARGUMENT = Answer(0x0115, "Action Information is missing or cannot be read")
NO_SUCH_EVENT = Answer(0x0113, "Storage commitment has event types 1 and 2 only")
UNKNOWN_TRANSACTION = Answer(0x0115, "Event Information cannot be read, or is of no request")
NOT_AUTHORIZED = Answer(0x0124, "That transaction was asked of another AE title")
RESOURCE_LIMITATION = Answer(0x0213, "Not possible now or too much; ask again, for less")
WITHOUT_DATA_SET = Answer(0xC000, "C-STORE without a data set", (_DATA_SET_TYPE,))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; the first that fits decides.

    Args:
        limit: fits only an error that names this setting within ``receiver``.
    """

    error: type[Exception]
    answer: Answer
    limit: str = ""

    def fits(self, error: Exception) -> bool:
        """Say whether this row is for ``error``."""
        named = not self.limit or getattr(error, "limit", "") == self.limit
        return isinstance(error, self.error) and named


ERRORS = (
    Row(StoreUnavailable, Answer(0xA700, "Store is not available; send again later")),
    Row(Busy, Answer(0xA700, "Too many long objects at once; send again later")),
    Row(TransientError, Answer(0xA700, "Not possible now; send again later")),
    Row(
        IdentityMismatch,
        Answer(0xA900, "Data set and command differ", (_SOP_CLASS, _SOP_INSTANCE)),
    ),
    Row(InvalidUid, Answer(0x0117, "A UID of the data set is missing or invalid")),
    *(
        Row(LimitPassed, Answer(0xC000, f"Data set is beyond this receiver's {limit}"), limit)
        for limit in ("max_inflated_bytes", "max_nesting", "max_elements")
    ),
    Row(InvalidDataSet, Answer(0xC000, "Data set cannot be read")),
    Row(Exception, PROCESSING_FAILURE),
)

COMMITMENT_ERRORS = (
    Row(TransientError, RESOURCE_LIMITATION),
    Row(LimitPassed, RESOURCE_LIMITATION),
    Row(InvalidDataSet, INVALID_ARGUMENT),
    Row(Exception, PROCESSING_FAILURE),
)
"""What an N-ACTION is answered with (PS3.7 10.1.4.1.10)."""

EVENT_ERRORS = (
    Row(TransientError, RESOURCE_LIMITATION),
    Row(NotAuthorized, NOT_AUTHORIZED),
    Row(InvalidDataSet, UNKNOWN_TRANSACTION),
    Row(Exception, PROCESSING_FAILURE),
)
"""What an N-EVENT-REPORT is answered with (PS3.7 10.1.1.1.8, annex C)."""

EVENT_ANSWERS = (
    SUCCESS,
    PROCESSING_FAILURE,
    NO_SUCH_INSTANCE,
    NO_SUCH_EVENT,
    UNKNOWN_TRANSACTION,
    NO_SUCH_CLASS,
    NOT_AUTHORIZED,
    UNRECOGNIZED_OPERATION,
    RESOURCE_LIMITATION,
)

ECHO_ANSWERS = (SUCCESS, SOP_CLASS_NOT_SUPPORTED, MISTYPED_ARGUMENT)
"""What a C-ECHO is answered with (PS3.7 9.1.5)."""

COMMITMENT_ANSWERS = (
    SUCCESS,
    PROCESSING_FAILURE,
    NO_SUCH_INSTANCE,
    INVALID_ARGUMENT,
    NO_SUCH_CLASS,
    NO_SUCH_ACTION,
    RESOURCE_LIMITATION,
)

DISPOSITIONS = {
    Disposition.STORED: SUCCESS,
    Disposition.ALREADY_STORED: SUCCESS,
    Disposition.QUARANTINED: Answer(
        0xA900, "Another object has this UID; kept in quarantine", (_SOP_INSTANCE,)
    ),
    Disposition.REFUSED: Answer(0xC000, "Refused; see the receiver's log"),
}


FAILURES = frozenset(
    answer.status
    for answer in (
        *(row.answer for row in (*ERRORS, *COMMITMENT_ERRORS, *EVENT_ERRORS)),
        *DISPOSITIONS.values(),
        *EVENT_ANSWERS,
        *COMMITMENT_ANSWERS,
        INVALID_INSTANCE,
        SOP_CLASS_NOT_SUPPORTED,
        UNRECOGNIZED_OPERATION,
        MISTYPED_ARGUMENT,
        LOW_ON_SPACE,
        OBJECT_TOO_LARGE,
        CONTEXT_MISMATCH,
        WITHOUT_DATA_SET,
    )
    if answer != SUCCESS
)
"""Every status that a request can be refused with."""


def answer_to_error(error: Exception) -> Answer:
    """Return the answer for an object that could not be accepted because of ``error``."""
    return next(row.answer for row in ERRORS if row.fits(error))


def answer_to_commitment_error(error: Exception) -> Answer:
    """Return the answer for a request for storage commitment that could not be taken."""
    return next(row.answer for row in COMMITMENT_ERRORS if row.fits(error))


def answer_to_event_error(error: Exception) -> Answer:
    """Return the answer for a result of storage commitment that could not be taken."""
    return next(row.answer for row in EVENT_ERRORS if row.fits(error))


def answer_to_accepted(accepted: Accepted) -> Answer:
    """Return the answer for an object that ``accept`` decided on."""
    return DISPOSITIONS[accepted.disposition]
