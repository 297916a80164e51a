"""What an established association may do next: fragments in, messages out (PS3.7, PS3.8 annex F).

One operation at a time (asynchronous operations window 1): a command set, its data set if it
announces one, the answer. Fragments that belong to nothing end the association, because whatever
came after them could be stored under a wrong name. A command that can be answered is answered,
and its data set read to the end and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from intu_fhir.model.uid import is_uid
from intu_fhir.receive import statuses
from intu_fhir.receive.dimse import (
    ActionRequest,
    Answer,
    CancelRequest,
    EchoRequest,
    EventAnswer,
    EventRequest,
    OtherRequest,
    Request,
    StoreRequest,
    encode_event_report,
    encode_response,
    parse_command,
)
from intu_fhir.receive.negotiation import Agreement, Context
from intu_fhir.receive.sop_classes import STORAGE_COMMITMENT_INSTANCE
from intu_fhir.receive.upper_layer import Fragment, encode_command, encode_data_set
from intu_fhir.receive.violation import AbortReason, ProtocolViolation

REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 table J.3-1)."""
RESULTS = frozenset({1, 2})
"""Event Type IDs (PS3.4 table J.3-4)."""

_MANY_FRAGMENTS = 1_000
_LEAST_FRAGMENT = 256
"""Bytes of a fragment, on average, where a message has many: one costs as much as thousands of
bytes, so crumbs would take the processor from everybody else. No program sends such.
"""
_FREE_FRAGMENTS = 64
"""Of each message, whatever they bring. What goes beyond adds up over messages, since many short
ones in crumbs cost as much as a long one.
"""
_MANY_CANCELS = 16
"""C-CANCELs in a row that are passed over. They have no answer, so that nothing slows down who
sends them: fifty such peers leave the processor to nobody else.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A command that has to be answered, after its data set if it has one.

    Args:
        refusal: the answer, where that is settled before any data set.
    """

    request: Request
    context: Context
    refusal: Answer | None


Step: TypeAlias = Message | Fragment | EventAnswer | None


class Association:
    """The state of one association: between messages, inside a command, or inside a data set."""

    def __init__(self, agreement: Agreement, max_command_bytes: int) -> None:
        self._contexts = agreement.contexts
        self._peer_max_pdu_bytes = agreement.max_pdu_bytes
        self._max_command_bytes = max_command_bytes
        self._command = bytearray()
        self._command_context: Context | None = None
        self._data_context_id: int | None = None
        self._dropping: int | None = None
        self._reports: set[int] = set()
        self._message_id = 0
        self._asked_on: Context | None = None
        self._debt = 0
        self._cancels = 0

    @property
    def commitment_context(self) -> Context | None:
        """The context on which the peer asks for storage commitment, if there is one.

        Of several it is the one that it used last.
        """
        if self._asked_on is not None:
            return self._asked_on
        return next((one for one in self._contexts.values() if one.takes_requests), None)

    @property
    def awaits_answer(self) -> bool:
        """Say whether a report of ours was not answered yet (PS3.7 D.3.3.3: window 1)."""
        return bool(self._reports)

    @property
    def inside_message(self) -> bool:
        """Say whether a message has begun and more of it has to come."""
        return self._command_context is not None or self._data_context_id is not None

    def take(self, fragment: Fragment) -> Step:
        """Give what a fragment completes or carries.

        Returns:
            the message whose command is now complete, or the fragment itself if it is part of
            that message's data set, or the answer to a report of ours, or None while there is
            nothing to do.

        Raises:
            ProtocolViolation: the fragment may not come here.
        """
        if self._data_context_id is not None:
            self._weigh(fragment)
            return self._take_data(fragment)
        if not fragment.is_command:
            raise _unexpected("a data set without a command")
        if self._command_context is None:
            self._debt = max(0, self._debt - _FREE_FRAGMENTS * _LEAST_FRAGMENT)
        self._weigh(fragment)
        return self._take_command(fragment)

    def _weigh(self, fragment: Fragment) -> None:
        """Refuse a fragment that brings nothing, and far too many that bring little."""
        size = len(fragment.data)
        if not size and not fragment.is_last:
            raise ProtocolViolation("an empty fragment that does not end what it is part of")
        self._debt = max(0, self._debt + _LEAST_FRAGMENT - size)
        if self._debt > _MANY_FRAGMENTS * _LEAST_FRAGMENT:
            raise ProtocolViolation(
                f"messages in more than {_MANY_FRAGMENTS} fragments "
                f"of less than {_LEAST_FRAGMENT} bytes"
            )

    def response(self, message: Message, answer: Answer) -> bytes:
        """Return the PDUs that answer ``message``."""
        command = encode_response(message.request, answer)
        return encode_command(message.context.context_id, command, self._peer_max_pdu_bytes)

    def event_report(
        self, context: Context, event_type_id: int, data_set: bytes
    ) -> tuple[int, Iterator[bytes]]:
        """Return message id and PDUs of an N-EVENT-REPORT-RQ (PS3.4 J.3.3), a few at a time."""
        self._message_id = self._message_id % 65_535 + 1
        self._reports.add(self._message_id)
        command = encode_event_report(
            self._message_id, context.sop_class_uid, STORAGE_COMMITMENT_INSTANCE, event_type_id
        )
        context_id, longest = context.context_id, self._peer_max_pdu_bytes
        head = (encode_command(context_id, command, longest),)
        return self._message_id, chain(head, encode_data_set(context_id, data_set, longest))

    def _take_data(self, fragment: Fragment) -> Fragment | None:
        if fragment.is_command:
            raise _unexpected("a command before the data set of the last one ended")
        if fragment.context_id != self._data_context_id:
            raise _unexpected("a data set on another presentation context than its command")
        if fragment.is_last:
            self._data_context_id = None
        if self._dropping is None:
            return fragment
        self._drop(fragment)
        return None

    def _drop(self, fragment: Fragment) -> None:
        """Pass over the data set of an answer, which none of ours has (PS3.4 J.3.3)."""
        assert self._dropping is not None
        self._dropping += len(fragment.data)
        if self._dropping > self._max_command_bytes:
            raise ProtocolViolation("an answer with a data set that does not end")
        if fragment.is_last:
            self._dropping = None

    def _take_command(self, fragment: Fragment) -> Message | EventAnswer | None:
        context = self._contexts.get(fragment.context_id)
        if context is None:
            raise _unexpected("a command on a presentation context that was not accepted")
        if self._command_context not in (None, context):
            raise _unexpected("a command that changes its presentation context")
        if len(self._command) + len(fragment.data) > self._max_command_bytes:
            raise ProtocolViolation(
                f"a command set above {self._max_command_bytes} bytes", limit="max_command_bytes"
            )
        self._command += fragment.data
        if not fragment.is_last:
            self._command_context = context
            return None
        self._command_context = None
        parsed = parse_command(self._command)
        self._command.clear()
        if isinstance(parsed, CancelRequest):
            self._cancelled()
            return None
        self._cancels = 0
        if parsed.has_data_set:
            self._data_context_id = context.context_id
        if isinstance(parsed, EventAnswer):
            return self._answered(parsed)
        refusal = _refusal(parsed, context)
        if refusal is None and isinstance(parsed, ActionRequest):
            self._asked_on = context
        return Message(parsed, context, refusal)

    def _cancelled(self) -> None:
        """Pass over a C-CANCEL: what it might be meant for is done, or is none of ours."""
        self._cancels += 1
        if self._cancels > _MANY_CANCELS:
            raise ProtocolViolation(f"more than {_MANY_CANCELS} C-CANCEL-RQ in a row")

    def _answered(self, answer: EventAnswer) -> EventAnswer:
        if answer.message_id not in self._reports:
            raise ProtocolViolation("an answer to nothing that was asked")
        self._reports.remove(answer.message_id)
        self._dropping = 0 if answer.has_data_set else None
        return answer


def _unexpected(what: str) -> ProtocolViolation:
    return ProtocolViolation(what, AbortReason.UNEXPECTED_PDU_PARAMETER)


def _refusal(request: Request, context: Context) -> Answer | None:
    """Judge a command by itself and by the context it came on."""
    if isinstance(request, OtherRequest):
        return statuses.UNRECOGNIZED_OPERATION
    if isinstance(request, EchoRequest):
        return _echo_refusal(request, context)
    if isinstance(request, ActionRequest):
        return _action_refusal(request, context)
    if isinstance(request, EventRequest):
        return _event_refusal(request, context)
    return _store_refusal(request, context)


def _echo_refusal(request: EchoRequest, context: Context) -> Answer | None:
    if not context.is_verification or request.sop_class_uid != context.sop_class_uid:
        return statuses.SOP_CLASS_NOT_SUPPORTED
    return statuses.MISTYPED_ARGUMENT if request.has_data_set else None


def _action_refusal(request: ActionRequest, context: Context) -> Answer | None:
    """Judge a request for storage commitment by its command (PS3.4 J.3.2, PS3.7 10.1.4.1.10)."""
    if not context.takes_requests:
        return statuses.UNRECOGNIZED_OPERATION
    if refusal := _wrong_instance(request, context):
        return refusal
    if request.action_type_id != REQUEST_STORAGE_COMMITMENT:
        return statuses.NO_SUCH_ACTION
    return None if request.has_data_set else statuses.INVALID_ARGUMENT


def _event_refusal(request: EventRequest, context: Context) -> Answer | None:
    """Judge a result of storage commitment by its command (PS3.4 J.3.3, PS3.7 10.1.1.1.8)."""
    if not context.takes_results:
        return statuses.UNRECOGNIZED_OPERATION
    if refusal := _wrong_instance(request, context):
        return refusal
    if request.event_type_id not in RESULTS:
        return statuses.NO_SUCH_EVENT
    return None if request.has_data_set else statuses.UNKNOWN_TRANSACTION


def _wrong_instance(request: ActionRequest | EventRequest, context: Context) -> Answer | None:
    if request.sop_class_uid != context.sop_class_uid:
        return statuses.NO_SUCH_CLASS
    if request.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return statuses.NO_SUCH_INSTANCE
    return None


def _store_refusal(request: StoreRequest, context: Context) -> Answer | None:
    if context.is_verification or context.is_commitment:
        return statuses.SOP_CLASS_NOT_SUPPORTED
    if request.sop_class_uid != context.sop_class_uid:
        return statuses.CONTEXT_MISMATCH
    if not is_uid(request.sop_instance_uid):
        return statuses.INVALID_INSTANCE
    return None if request.has_data_set else statuses.WITHOUT_DATA_SET
