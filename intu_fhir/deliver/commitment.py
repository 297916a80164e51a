"""Results of storage commitment to the requester, on an association of our own (PS3.4 J.3.3)."""

from __future__ import annotations

from collections.abc import Callable

from intu_fhir.deliver.association import Association, Broken, NotConnected, Rejected
from intu_fhir.deliver.tls import tls_context
from intu_fhir.deliver.upper_layer import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    Accepted,
    BadAnswer,
    Context,
)
from intu_fhir.errors import TransientError
from intu_fhir.settings.schema import CommitmentRequester

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
_CONTEXT_ID = 1


class NotTaken(TransientError):
    """The requester did not take the result; it is told again later."""


class CommitmentReporter:
    """Tells results to one requester; any number of threads may share it.

    Args:
        requester: where it takes results.

    Raises:
        ConfigurationError: a key or certificate cannot be used.
    """

    def __init__(self, requester: CommitmentRequester, timeout_seconds: float) -> None:
        self._address = (requester.host, requester.port)
        self._tls = tls_context(requester.tls) if requester.tls else None
        self._timeout = timeout_seconds

    def report(
        self, ours: str, theirs: str, event_type_id: int, encode: Callable[[str], bytes]
    ) -> None:
        """Tell a result; on return the requester has taken it.

        Args:
            ours: AE title that we go by.
            theirs: AE title of the requester.
            encode: gives the Event Information in a transfer syntax.

        Raises:
            NotTaken: it did not; the message says why, without anything the requester wrote.
        """
        try:
            status = self._report(ours, theirs, event_type_id, encode(IMPLICIT_VR_LITTLE_ENDIAN))
        except Rejected as error:
            raise NotTaken(self._sentence(str(error))) from error
        except (NotConnected, Broken, BadAnswer) as error:
            raise NotTaken(self._sentence(str(error))) from error
        if status != 0:
            raise NotTaken(self._sentence(f"it answers {status:04X}"))

    def _report(self, ours: str, theirs: str, event_type_id: int, information: bytes) -> int:
        association = Association(self._address, tls=self._tls, timeout_seconds=self._timeout)
        try:
            context = Context(_CONTEXT_ID, STORAGE_COMMITMENT, IMPLICIT_VR_LITTLE_ENDIAN)
            accepted = association.negotiate(ours, theirs, [context], [STORAGE_COMMITMENT])
            _require(accepted)
            status = association.report_event(
                _CONTEXT_ID,
                STORAGE_COMMITMENT,
                STORAGE_COMMITMENT_INSTANCE,
                event_type_id,
                information,
            )
        except BaseException:
            association.abort()
            raise
        association.release()
        return status

    def _sentence(self, reason: str) -> str:
        host, port = self._address
        return f"The requester at {host}:{port} did not take the result: {reason}"


def _require(accepted: Accepted) -> None:
    """Refuse an association on which the result could not be told.

    A peer that says nothing of roles is taken as willing: many do so, and take results.
    """
    if accepted.results.get(_CONTEXT_ID) != 0:
        raise BadAnswer("it does not accept storage commitment")
    if accepted.transfer_syntaxes.get(_CONTEXT_ID) != IMPLICIT_VR_LITTLE_ENDIAN:
        raise BadAnswer("it grants a transfer syntax that was not proposed")
    if not accepted.as_provider.get(STORAGE_COMMITMENT, True):
        raise BadAnswer("it does not let us be the provider (SCP) of storage commitment")
