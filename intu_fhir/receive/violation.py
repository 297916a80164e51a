"""What a peer may not do: the one error of the protocol modules."""

from __future__ import annotations

from enum import IntEnum

from intu_fhir.errors import PermanentError


class AbortReason(IntEnum):
    """Why a service provider aborts (PS3.8 9.3.8, table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


class ProtocolViolation(PermanentError):
    """The peer broke PS3.7 or PS3.8 in a way that leaves nothing to answer but an A-ABORT.

    The message holds numbers and names of ours only, never text that the peer chose; ``limit``
    is the key of the setting that was passed, if one was.
    """

    def __init__(
        self,
        message: str,
        reason: AbortReason = AbortReason.INVALID_PDU_PARAMETER_VALUE,
        *,
        limit: str = "",
    ) -> None:
        super().__init__(message)
        self.reason, self.limit = reason, limit
