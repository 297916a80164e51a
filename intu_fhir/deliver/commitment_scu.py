"""Asks a PACS to promise that it keeps what it was sent (PS3.4 annex J, as SCU)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from intu_fhir.deliver.asking import AskingAssociation
from intu_fhir.deliver.association import Broken, NotConnected, Rejected, Stopped
from intu_fhir.deliver.commitment import STORAGE_COMMITMENT
from intu_fhir.deliver.outcomes import CONTEXT_RESULTS, Rule, Verdict, rejected, sentence
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.tally import NO_ANSWER
from intu_fhir.deliver.tls import tls_context
from intu_fhir.deliver.upper_layer import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    Accepted,
    BadAnswer,
    Context,
    Response,
)
from intu_fhir.errors import PermanentError
from intu_fhir.model.archive_commitment import AskClaim
from intu_fhir.model.outcome import Dead, Delivered, Retry
from intu_fhir.settings.schema import Commitment, DicomDestination

NO_CONTEXT = "no context"
_CONTEXT_ID = 1
_LATER = "it is asked again by itself"
_ENABLE = (
    "have storage commitment enabled at the PACS, or take `commitment` out of this destination, "
    "then replay"
)
_ALLOW = "have our AE title allowed to ask for storage commitment at the PACS, then replay"

ACTION_STATUSES: Mapping[int, Rule] = {
    0x0000: Rule(Verdict.DELIVERED, "the PACS will answer"),
    0x0110: Rule(Verdict.RETRY, "processing failure", _LATER),
    0x0112: Rule(Verdict.DEAD, "no such SOP instance", _ENABLE),
    0x0114: Rule(Verdict.DEAD, "no such argument", _ENABLE),
    0x0115: Rule(Verdict.DEAD, "invalid argument value", _ENABLE),
    0x0117: Rule(Verdict.DEAD, "invalid SOP instance", _ENABLE),
    0x0118: Rule(Verdict.DEAD, "no such SOP class", _ENABLE),
    0x0119: Rule(Verdict.DEAD, "class and instance conflict", _ENABLE),
    0x0122: Rule(Verdict.DEAD, "SOP class not supported", _ENABLE),
    0x0123: Rule(Verdict.DEAD, "no such action", _ENABLE),
    0x0124: Rule(Verdict.DEAD, "not authorised", _ALLOW),
    0x0131: Rule(Verdict.RETRY, "duplicate transaction UID", _LATER),
    0x0210: Rule(Verdict.RETRY, "duplicate invocation", _LATER),
    0x0211: Rule(Verdict.DEAD, "unrecognised operation", _ENABLE),
    0x0212: Rule(Verdict.DEAD, "mistyped argument", _ENABLE),
    0x0213: Rule(Verdict.RETRY, "resource limitation", _LATER),
}
"""What an N-ACTION is answered with (PS3.7 10.1.4.1.10, annex C)."""

_UNKNOWN_STATUS = Rule(Verdict.RETRY, "a status that no standard names", _LATER)


def action_outcome(response: Response) -> Delivered | Retry | Dead:
    """Return what the answer to one request means."""
    rule = ACTION_STATUSES.get(response.status, _UNKNOWN_STATUS)
    status = f"{response.status:04X}"
    if rule.verdict is Verdict.DELIVERED:
        return Delivered(status)
    meaning = f"The PACS answers the request for storage commitment with {status}: {rule.meaning}"
    detail = sentence(meaning, scrub(response.comment)[:100], rule.remedy)
    return Retry(status, detail) if rule.verdict is Verdict.RETRY else Dead(status, detail)


class NotOffered(PermanentError):
    """The PACS has no storage commitment for us."""


class Asker(Protocol):
    """Whose requests are sent: it knows what each asks for and notes what came of it."""

    def information(self, request: AskClaim, transfer_syntax_uid: str) -> bytes:
        """Return the Action Information of a request."""
        ...

    def answered(self, request: AskClaim, outcome: Delivered | Retry | Dead) -> None:
        """Note the PACS's answer to a request."""
        ...

    def hear(self, event_information: bytes) -> int:
        """Take a result and return the status that it is answered with."""
        ...

    def waits(self) -> bool:
        """Say whether results of what was asked are still to come."""
        ...


@dataclass(frozen=True)
class Conversation:
    """What came of a conversation as a whole.

    Args:
        ended: why it ended before all was asked; None = it did not.
        in_hand: the request that was being sent then: nobody knows whether the PACS has it.
    """

    ended: Retry | Dead | None = None
    in_hand: AskClaim | None = None


class CommitmentScu:
    """Asks one PACS for storage commitment; any number of threads may share it.

    Args:
        commitment: what differs from the destination itself.

    Raises:
        ConfigurationError: a key or certificate of the destination cannot be used.
    """

    def __init__(self, destination: DicomDestination, commitment: Commitment) -> None:
        host, port = commitment.host or destination.host, commitment.port or destination.port
        self._address = (host, port)
        self.ours = commitment.ae_title or destination.ae_title
        self.theirs = commitment.called_ae_title or destination.called_ae_title
        self._tls = tls_context(destination.tls) if destination.tls else None
        self._timeout = destination.timeout_seconds
        self._wait = commitment.wait_seconds

    def ask(self, requests: Sequence[AskClaim], asker: Asker) -> Conversation:
        """Send requests on one association, and wait a while for results on it."""
        try:
            association = self._associate()
        except Rejected as error:
            return Conversation(self._rejected(error))
        except NotOffered as error:
            return Conversation(Dead(NO_CONTEXT, str(error)))
        except (NotConnected, Broken, BadAnswer, Stopped) as error:
            return Conversation(Retry(NO_ANSWER, self._where(str(error))))
        in_hand: AskClaim | None = None
        try:
            for request in requests:
                information = asker.information(request, IMPLICIT_VR_LITTLE_ENDIAN)
                in_hand = request
                response = association.act(_CONTEXT_ID, information, asker.hear)
                in_hand = None
                asker.answered(request, action_outcome(response))
            self._wait_for_results(association, asker)
        except (Broken, BadAnswer, Stopped) as error:
            association.abort()
            return Conversation(Retry(NO_ANSWER, self._where(str(error))), in_hand)
        except BaseException:
            association.abort()
            raise
        association.release()
        return Conversation()

    def offered(self) -> Delivered | Retry | Dead:
        """Ask the PACS whether it takes requests, without sending one."""
        try:
            self._associate().release()
        except Rejected as error:
            return self._rejected(error)
        except NotOffered as error:
            return Dead(NO_CONTEXT, str(error))
        except (NotConnected, Broken, BadAnswer, Stopped) as error:
            return Retry(NO_ANSWER, self._where(str(error)))
        return Delivered("0000")

    def _associate(self) -> AskingAssociation:
        association = AskingAssociation(self._address, tls=self._tls, timeout_seconds=self._timeout)
        context = Context(_CONTEXT_ID, STORAGE_COMMITMENT, IMPLICIT_VR_LITTLE_ENDIAN)
        try:
            accepted = association.negotiate(self.ours, self.theirs, [context])
        except Rejected:
            association.close()
            raise
        except BaseException:
            association.abort()
            raise
        if refused := _refusal(accepted):
            association.abort()
            words = f"The PACS does not take requests for storage commitment: {refused}"
            raise NotOffered(sentence(words, "", _ENABLE))
        return association

    def _wait_for_results(self, association: AskingAssociation, asker: Asker) -> None:
        """Take what comes soon; what comes later comes on an association of the PACS's own."""
        until = time.monotonic() + self._wait
        while asker.waits() and (left := until - time.monotonic()) > 0:
            try:
                association.take_result(_CONTEXT_ID, left, asker.hear)
            except Broken:
                if time.monotonic() >= until:
                    return
                raise

    def _rejected(self, error: Rejected) -> Retry | Dead:
        theirs, ours = self._place, self.ours
        return rejected(error.result, error.source, error.reason, theirs=theirs, ours=ours)

    def _where(self, reason: str) -> str:
        return f"{self._place}: {reason}"

    @property
    def _place(self) -> str:
        host, port = self._address
        return f"{self.theirs} at {host}:{port}"


def _refusal(accepted: Accepted) -> str:
    """Say why there is no presentation context to ask on (PS3.8 table 9-18); empty = there is."""
    result = accepted.results.get(_CONTEXT_ID, 2)
    if result != 0:
        return CONTEXT_RESULTS.get(result, f"result {result}")
    granted = accepted.transfer_syntaxes.get(_CONTEXT_ID, "")
    return "" if granted == IMPLICIT_VR_LITTLE_ENDIAN else "another transfer syntax granted"
