"""What an established association may do next: fragments in, messages out (PS3.7, PS3.8 annex F).

One operation at a time (asynchronous operations window 1): a command set, its data set if it
announces one, the answer. Fragments that belong to nothing end the association, because whatever
came after them could be stored under a wrong name. A command that can be answered is answered,
and its data set read to the end and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from intu_fhir.model.uid import is_uid
from intu_fhir.receive import statuses
from intu_fhir.receive.dimse import (
    Answer,
    CancelRequest,
    EchoRequest,
    OtherRequest,
    Request,
    StoreRequest,
    encode_response,
    parse_command,
)
from intu_fhir.receive.negotiation import Agreement, Context
from intu_fhir.receive.upper_layer import Fragment, encode_command
from intu_fhir.receive.violation import AbortReason, ProtocolViolation


@dataclass(frozen=True, slots=True)
class Message:
    """A command that has to be answered, after its data set if it has one.

    Args:
        refusal: the answer, where that is settled before any data set.
    """

    request: Request
    context: Context
    refusal: Answer | None


Step: TypeAlias = Message | Fragment | None


class Association:
    """The state of one association: between messages, inside a command, or inside a data set."""

    def __init__(self, agreement: Agreement, max_command_bytes: int) -> None:
        self._contexts = agreement.contexts
        self._peer_max_pdu_bytes = agreement.max_pdu_bytes
        self._max_command_bytes = max_command_bytes
        self._command = bytearray()
        self._command_context: Context | None = None
        self._data_context_id: int | None = None

    @property
    def inside_message(self) -> bool:
        """Say whether a message has begun and more of it has to come."""
        return self._command_context is not None or self._data_context_id is not None

    def take(self, fragment: Fragment) -> Step:
        """Give what a fragment completes or carries.

        Returns:
            the message whose command is now complete, or the fragment itself if it is part of
            that message's data set, or None while a command is incomplete.

        Raises:
            ProtocolViolation: the fragment may not come here.
        """
        if self._data_context_id is not None:
            return self._take_data(fragment)
        if not fragment.is_command:
            raise _unexpected("a data set without a command")
        return self._take_command(fragment)

    def response(self, message: Message, answer: Answer) -> bytes:
        """Return the PDUs that answer ``message``."""
        command = encode_response(message.request, answer)
        return encode_command(message.context.context_id, command, self._peer_max_pdu_bytes)

    def _take_data(self, fragment: Fragment) -> Fragment:
        if fragment.is_command:
            raise _unexpected("a command before the data set of the last one ended")
        if fragment.context_id != self._data_context_id:
            raise _unexpected("a data set on another presentation context than its command")
        if fragment.is_last:
            self._data_context_id = None
        return fragment

    def _take_command(self, fragment: Fragment) -> Message | None:
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
            if not fragment.data:
                raise ProtocolViolation("an empty fragment that does not end its command set")
            self._command_context = context
            return None
        self._command_context = None
        parsed = parse_command(self._command)
        self._command.clear()
        if isinstance(parsed, CancelRequest):
            return None
        if parsed.has_data_set:
            self._data_context_id = context.context_id
        return Message(parsed, context, _refusal(parsed, context))


def _unexpected(what: str) -> ProtocolViolation:
    return ProtocolViolation(what, AbortReason.UNEXPECTED_PDU_PARAMETER)


def _refusal(request: Request, context: Context) -> Answer | None:
    """Judge a command by itself and by the context it came on."""
    if isinstance(request, OtherRequest):
        return statuses.UNRECOGNIZED_OPERATION
    if isinstance(request, EchoRequest):
        return _echo_refusal(request, context)
    return _store_refusal(request, context)


def _echo_refusal(request: EchoRequest, context: Context) -> Answer | None:
    if not context.is_verification or request.sop_class_uid != context.sop_class_uid:
        return statuses.SOP_CLASS_NOT_SUPPORTED
    return statuses.MISTYPED_ARGUMENT if request.has_data_set else None


def _store_refusal(request: StoreRequest, context: Context) -> Answer | None:
    if context.is_verification:
        return statuses.SOP_CLASS_NOT_SUPPORTED
    if request.sop_class_uid != context.sop_class_uid:
        return statuses.CONTEXT_MISMATCH
    if not is_uid(request.sop_instance_uid):
        return statuses.INVALID_INSTANCE
    return None if request.has_data_set else statuses.WITHOUT_DATA_SET
