"""Command sets: bytes to requests, answers to bytes (PS3.7 section 6.3 and annex E).

A command set is always Implicit VR Little Endian. What an answer needs to be sent at all (which
command, which message) must be there; everything else may be missing, so that the sender gets a
status instead of an A-ABORT.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from intu_fhir.model.uid import is_uid
from intu_fhir.receive.violation import ProtocolViolation

_ELEMENT = struct.Struct("<HHI")
_DATA_SET, _NO_DATA_SET = 0x0001, 0x0101
_RESPONSE = 0x8000
_COMMENT_LENGTH = 64


class Element(IntEnum):
    """Elements of group 0000 that are read or written (PS3.7 annex E)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


class Command(IntEnum):
    """Command fields that are told apart (PS3.7 annex E.1)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF
    N_EVENT_REPORT_RSP = 0x8100


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with.

    Args:
        status: PS3.7 annex C, PS3.4 B.2.3.
        comment: Error Comment (0000,0902), at most 64 characters of ASCII.
        offending_elements: tags for Offending Element (0000,0901).
    """

    status: int
    comment: str = ""
    offending_elements: tuple[int, ...] = ()


SUCCESS = Answer(0x0000)


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ (PS3.7 9.3.1.1); UIDs as received, empty where they are missing."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """A C-ECHO-RQ (PS3.7 9.3.5.1)."""

    message_id: int
    sop_class_uid: str
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """An N-ACTION-RQ (PS3.7 10.1.4.1); ``action_type_id`` is 0 where it is missing."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    action_type_id: int
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class EventRequest:
    """An N-EVENT-REPORT-RQ (PS3.7 10.1.1.1); ``event_type_id`` is 0 where it is missing."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    event_type_id: int
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """An N-EVENT-REPORT-RSP (PS3.7 10.1.1.1)."""

    message_id: int
    status: int
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """A request that a storage SCP does not serve."""

    message_id: int
    command_field: int
    sop_class_uid: str
    has_data_set: bool


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """A C-CANCEL-RQ: it has no answer, and here nothing that it could cancel."""


Request: TypeAlias = StoreRequest | EchoRequest | ActionRequest | EventRequest | OtherRequest
Parsed: TypeAlias = Request | CancelRequest | EventAnswer


def parse_command(data: bytes | bytearray | memoryview) -> Parsed:
    """Read a command set.

    Raises:
        ProtocolViolation: it cannot be read, or lacks what an answer needs.
    """
    elements = _elements(data)
    command_field = _number(elements, Element.COMMAND_FIELD)
    has_data_set = _number(elements, Element.COMMAND_DATA_SET_TYPE) != _NO_DATA_SET
    if command_field == Command.C_CANCEL_RQ:
        if has_data_set:
            raise ProtocolViolation("a C-CANCEL-RQ announces a data set")
        return CancelRequest()
    if command_field == Command.N_EVENT_REPORT_RSP:
        answers = _number(elements, Element.MESSAGE_ID_BEING_RESPONDED_TO)
        return EventAnswer(answers, _number(elements, Element.STATUS), has_data_set)
    if command_field & _RESPONSE:
        raise ProtocolViolation(f"response {command_field:#06x} to nothing that was asked")
    message_id = _number(elements, Element.MESSAGE_ID)
    sop_class_uid = _uid(elements, Element.AFFECTED_SOP_CLASS_UID)
    if command_field == Command.C_STORE_RQ:
        sop_instance_uid = _uid(elements, Element.AFFECTED_SOP_INSTANCE_UID)
        return StoreRequest(message_id, sop_class_uid, sop_instance_uid, has_data_set)
    if command_field == Command.C_ECHO_RQ:
        return EchoRequest(message_id, sop_class_uid, has_data_set)
    if command_field == Command.N_EVENT_REPORT_RQ:
        sop_instance_uid = _uid(elements, Element.AFFECTED_SOP_INSTANCE_UID)
        kind = _kind(elements, Element.EVENT_TYPE_ID)
        return EventRequest(message_id, sop_class_uid, sop_instance_uid, kind, has_data_set)
    # Other N-services name the class of what they act on in another element.
    sop_class_uid = sop_class_uid or _uid(elements, Element.REQUESTED_SOP_CLASS_UID)
    if command_field == Command.N_ACTION_RQ:
        sop_instance_uid = _uid(elements, Element.REQUESTED_SOP_INSTANCE_UID)
        kind = _kind(elements, Element.ACTION_TYPE_ID)
        return ActionRequest(message_id, sop_class_uid, sop_instance_uid, kind, has_data_set)
    return OtherRequest(message_id, command_field, sop_class_uid, has_data_set)


def _elements(data: bytes | bytearray | memoryview) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    begin, size = 0, len(data)
    while begin < size:
        if size - begin < _ELEMENT.size:
            raise ProtocolViolation("the command set ends inside an element")
        group, element, length = _ELEMENT.unpack_from(data, begin)
        begin += _ELEMENT.size
        if group != 0 or element in elements:
            raise ProtocolViolation(f"({group:04x},{element:04x}) in a command set, or twice")
        if length > size - begin:
            raise ProtocolViolation(f"(0000,{element:04x}) ends outside the command set")
        elements[element] = bytes(data[begin : begin + length])
        begin += length
    return elements


def _number(elements: dict[int, bytes], element: Element) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise ProtocolViolation(f"{element.name} of a command set is missing or not one number")
    return int.from_bytes(value, "little")


def _kind(elements: dict[int, bytes], element: Element) -> int:
    return int.from_bytes(elements.get(element, b"")[:2], "little")


def _uid(elements: dict[int, bytes], element: Element) -> str:
    return elements.get(element, b"").rstrip(b" \0").decode("ascii", "replace")


def encode_response(request: Request, answer: Answer) -> bytes:
    """Return the command set that answers ``request``.

    UIDs that are none are left out rather than sent back.
    """
    body = b"".join(
        [
            *_uid_element(Element.AFFECTED_SOP_CLASS_UID, request.sop_class_uid),
            _us(Element.COMMAND_FIELD, _response_field(request)),
            _us(Element.MESSAGE_ID_BEING_RESPONDED_TO, request.message_id),
            _us(Element.COMMAND_DATA_SET_TYPE, _NO_DATA_SET),
            _us(Element.STATUS, answer.status),
            *_remarks(answer),
            *_uid_element(Element.AFFECTED_SOP_INSTANCE_UID, _instance_uid(request)),
        ]
    )
    return _element(Element.GROUP_LENGTH, struct.pack("<I", len(body))) + body


def _response_field(request: Request) -> int:
    if isinstance(request, StoreRequest):
        return Command.C_STORE_RQ | _RESPONSE
    if isinstance(request, EchoRequest):
        return Command.C_ECHO_RQ | _RESPONSE
    if isinstance(request, ActionRequest):
        return Command.N_ACTION_RQ | _RESPONSE
    if isinstance(request, EventRequest):
        return Command.N_EVENT_REPORT_RQ | _RESPONSE
    return request.command_field | _RESPONSE


def _instance_uid(request: Request) -> str:
    if isinstance(request, (StoreRequest, ActionRequest, EventRequest)):
        return request.sop_instance_uid
    return ""


def encode_event_report(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type_id: int
) -> bytes:
    """Return the command set of an N-EVENT-REPORT-RQ with a data set (PS3.7 10.3.1.1)."""
    body = b"".join(
        [
            *_uid_element(Element.AFFECTED_SOP_CLASS_UID, sop_class_uid),
            _us(Element.COMMAND_FIELD, Command.N_EVENT_REPORT_RQ),
            _us(Element.MESSAGE_ID, message_id),
            _us(Element.COMMAND_DATA_SET_TYPE, _DATA_SET),
            *_uid_element(Element.AFFECTED_SOP_INSTANCE_UID, sop_instance_uid),
            _us(Element.EVENT_TYPE_ID, event_type_id),
        ]
    )
    return _element(Element.GROUP_LENGTH, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _us(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, 2) + value.to_bytes(2, "little")


def _uid_element(element: int, uid: str) -> list[bytes]:
    if not is_uid(uid):
        return []
    value = uid.encode()
    return [_element(element, value + b"\0" * (len(value) % 2))]


def _remarks(answer: Answer) -> list[bytes]:
    """Encode Offending Element (AT, 1-n) and Error Comment (LO), where there are any."""
    remarks = []
    if answer.offending_elements:
        tags = (struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in answer.offending_elements)
        remarks.append(_element(Element.OFFENDING_ELEMENT, b"".join(tags)))
    if answer.comment:
        comment = answer.comment.encode("ascii", "replace")[:_COMMENT_LENGTH]
        remarks.append(_element(Element.ERROR_COMMENT, comment + b" " * (len(comment) % 2)))
    return remarks
