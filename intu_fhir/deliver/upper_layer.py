"""The requestor's half of the DICOM upper layer, without sockets (PS3.8 9.3, PS3.7 9.3).

What is asked as bytes, and what is answered from bytes. All that comes in is checked: lengths
against what is there, and the message and the instance that an answer is for by the caller.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from intu_fhir.errors import TransientError
from intu_fhir.files.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
MAX_CONTEXTS = 128
MAX_PDU_BYTES = 65_536
"""Longest P-DATA-TF that we take: answers are small."""
MAX_ANSWER_BYTES = 1 << 20
"""Longest A-ASSOCIATE-AC, and longest command set of an answer."""
PDV_HEADER_BYTES = 6

_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
ITEM = struct.Struct(">BxH")
FIXED_BYTES = 68
"""Of an A-ASSOCIATE-AC, before its items."""
_ELEMENT = struct.Struct("<HHI")
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0000
_COMMAND, _LAST = 1, 2


class BadAnswer(TransientError):
    """The peer broke the protocol: nothing it says on this association counts."""


class Pdu(IntEnum):
    """PS3.8 9.3.1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


PDU_HEADER_BYTES = _HEADER.size
_LONGEST = {
    Pdu.ASSOCIATE_AC: MAX_ANSWER_BYTES,
    Pdu.ASSOCIATE_RJ: 4,
    Pdu.P_DATA_TF: MAX_PDU_BYTES,
    Pdu.RELEASE_RQ: 4,
    Pdu.RELEASE_RP: 4,
    Pdu.ABORT: 4,
}


class Field(IntEnum):
    """Command fields (PS3.7 annex E)."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_STORE_RSP = 0x8001
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_EVENT_REPORT_RSP = 0x8100


class Element(IntEnum):
    """Elements of a command set (PS3.7 annex E)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that is asked for: one SOP class in one transfer syntax.

    Args:
        or_else: transfer syntaxes that the peer may choose instead.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    or_else: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An A-ASSOCIATE-AC.

    Args:
        results: by presentation context ID (PS3.8 table 9-18); 0 is acceptance.
        transfer_syntaxes: by ID, of the accepted ones.
        max_pdu_bytes: longest P-DATA-TF that the peer takes; 0 means any.
        implementation_class_uid: what program the peer is (PS3.7 D.3.3.2); empty = it does not say.
        as_provider: by SOP class, whether we may be its SCP (PS3.7 D.3.3.4); nothing of a class
            that the peer does not answer for.
    """

    results: dict[int, int]
    transfer_syntaxes: dict[int, str]
    max_pdu_bytes: int
    implementation_class_uid: str = ""
    as_provider: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A C-STORE-RSP or C-ECHO-RSP; a UID that the peer left out is empty."""

    field: int
    message_id: int
    status: int
    sop_instance_uid: str = ""
    comment: str = ""


# ---- what is asked


def encode_associate_request(
    calling_ae_title: str,
    called_ae_title: str,
    contexts: Sequence[Context],
    as_provider: Sequence[str] = (),
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Args:
        as_provider: SOP classes that we are the SCP of, not the SCU (PS3.7 D.3.3.4).
    """
    application = _item(0x10, APPLICATION_CONTEXT.encode())
    items = [application, *map(_context, contexts), _user(as_provider)]
    body = struct.pack(">H2x16s16s32x", 1, _title(called_ae_title), _title(calling_ae_title))
    body += b"".join(items)
    return _HEADER.pack(Pdu.ASSOCIATE_RQ, len(body)) + body


def _title(ae_title: str) -> bytes:
    return ae_title.encode("ascii").ljust(16)[:16]


def _item(kind: int, value: bytes) -> bytes:
    return ITEM.pack(kind, len(value)) + value


def _context(context: Context) -> bytes:
    abstract = _item(0x30, context.abstract_syntax.encode("ascii"))
    transfer = (
        _item(0x40, uid.encode("ascii")) for uid in (context.transfer_syntax, *context.or_else)
    )
    return _item(0x20, struct.pack(">B3x", context.context_id) + abstract + b"".join(transfer))


def _user(as_provider: Sequence[str]) -> bytes:
    items = (
        _item(0x51, struct.pack(">I", MAX_PDU_BYTES)),
        _item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
        *(_item(0x54, _role(uid.encode("ascii"))) for uid in as_provider),
        _item(0x55, IMPLEMENTATION_VERSION_NAME.encode()),
    )
    return _item(0x50, b"".join(items))


def _role(uid: bytes) -> bytes:
    return struct.pack(">H", len(uid)) + uid + b"\0\1"


def encode_store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the command set of a C-STORE-RQ with medium priority (PS3.7 9.3.1.1)."""
    return encode_command(
        uid_element(Element.AFFECTED_SOP_CLASS_UID, sop_class_uid),
        number_element(Element.COMMAND_FIELD, Field.C_STORE_RQ),
        number_element(Element.MESSAGE_ID, message_id),
        number_element(Element.PRIORITY, 0),
        number_element(Element.COMMAND_DATA_SET_TYPE, _DATA_SET),
        uid_element(Element.AFFECTED_SOP_INSTANCE_UID, sop_instance_uid),
    )


def encode_echo_request(message_id: int) -> bytes:
    """Return the command set of a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return encode_command(
        uid_element(Element.AFFECTED_SOP_CLASS_UID, VERIFICATION),
        number_element(Element.COMMAND_FIELD, Field.C_ECHO_RQ),
        number_element(Element.MESSAGE_ID, message_id),
        number_element(Element.COMMAND_DATA_SET_TYPE, _NO_DATA_SET),
    )


def encode_event_report(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type_id: int
) -> bytes:
    """Return the command set of an N-EVENT-REPORT-RQ with a data set (PS3.7 10.3.1.1)."""
    return encode_command(
        uid_element(Element.AFFECTED_SOP_CLASS_UID, sop_class_uid),
        number_element(Element.COMMAND_FIELD, Field.N_EVENT_REPORT_RQ),
        number_element(Element.MESSAGE_ID, message_id),
        number_element(Element.COMMAND_DATA_SET_TYPE, _DATA_SET),
        uid_element(Element.AFFECTED_SOP_INSTANCE_UID, sop_instance_uid),
        number_element(Element.EVENT_TYPE_ID, event_type_id),
    )


def encode_command(*elements: bytes) -> bytes:
    """Return a command set of these elements (PS3.7 6.3)."""
    body = b"".join(elements)
    return _element(Element.GROUP_LENGTH, struct.pack("<I", len(body))) + body


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def number_element(element: int, value: int) -> bytes:
    """Return an element of VR US."""
    return _element(element, struct.pack("<H", value))


def uid_element(element: int, uid: str) -> bytes:
    """Return an element of VR UI."""
    value = uid.encode("ascii")
    return _element(element, value + b"\0" * (len(value) % 2))


def data_pdu_header(context_id: int, size: int, *, command: bool, last: bool) -> bytes:
    """Return what stands before ``size`` bytes of a fragment in a P-DATA-TF (PS3.8 9.3.5)."""
    flags = (_COMMAND if command else 0) | (_LAST if last else 0)
    return _HEADER.pack(Pdu.P_DATA_TF, size + PDV_HEADER_BYTES) + _PDV.pack(
        size + 2, context_id, flags
    )


RELEASE_REQUEST = _HEADER.pack(Pdu.RELEASE_RQ, 4) + b"\0\0\0\0"
RELEASE_RESPONSE = _HEADER.pack(Pdu.RELEASE_RP, 4) + b"\0\0\0\0"
ABORT = _HEADER.pack(Pdu.ABORT, 4) + b"\0\0\0\0"
"""A-ABORT of the service user (PS3.8 9.3.8)."""


# ---- what is answered


def read_pdu_header(header: bytes) -> tuple[Pdu, int]:
    """Return the type of a PDU and how many bytes follow its header.

    Raises:
        BadAnswer: no such PDU, or longer than one of its kind may be.
    """
    kind, length = _HEADER.unpack(header)
    try:
        pdu = Pdu(kind)
    except ValueError:
        raise BadAnswer(f"the peer sends a PDU of type {kind:#04x}; is it a DICOM port?") from None
    if length > _LONGEST.get(pdu, 0):
        raise BadAnswer(f"the peer sends {pdu.name} of {length} bytes")
    return pdu, length


def text_of(value: bytes) -> str:
    """Return a text of the peer's without its padding."""
    return value.strip(b" \0").decode("ascii", "replace")


def parse_reject(body: bytes) -> tuple[int, int, int]:
    """Return result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    if len(body) != 4:
        raise BadAnswer(f"A-ASSOCIATE-RJ of {len(body)} bytes")
    return body[1], body[2], body[3]


def parse_fragments(body: bytes) -> Iterator[tuple[int, bool, bool, bytes]]:
    """Give context ID, is-command, is-last and data of the PDVs of a P-DATA-TF (PS3.8 9.3.5).

    Raises:
        BadAnswer: lengths do not fit.
    """
    begin = 0
    while begin < len(body):
        if len(body) - begin < _PDV.size:
            raise BadAnswer("P-DATA-TF ends inside a PDV header")
        length, context_id, flags = _PDV.unpack_from(body, begin)
        end = begin + 4 + length
        if length < 2 or end > len(body):
            raise BadAnswer(f"PDV of {length} bytes")
        yield context_id, bool(flags & _COMMAND), bool(flags & _LAST), body[begin + 6 : end]
        begin = end


def parse_response(command: bytes) -> Response:
    """Read the command set of an answer.

    Raises:
        BadAnswer: it cannot be read, or lacks what an answer must have.
    """
    elements = read_elements(command)
    return Response(
        field=read_number(elements, Element.COMMAND_FIELD),
        message_id=read_number(elements, Element.MESSAGE_ID_BEING_RESPONDED_TO),
        status=read_number(elements, Element.STATUS),
        sop_instance_uid=read_uid(elements, Element.AFFECTED_SOP_INSTANCE_UID),
        comment=text_of(elements.get(Element.ERROR_COMMENT, b"")),
    )


def read_elements(command: bytes) -> dict[int, bytes]:
    """Return the values of a command set by element.

    Raises:
        BadAnswer: it cannot be read.
    """
    elements: dict[int, bytes] = {}
    begin = 0
    while begin < len(command):
        if len(command) - begin < _ELEMENT.size:
            raise BadAnswer("the command set of an answer ends inside an element")
        group, element, length = _ELEMENT.unpack_from(command, begin)
        begin += _ELEMENT.size
        if group != 0 or begin + length > len(command):
            raise BadAnswer(f"({group:04x},{element:04x}) does not fit into an answer")
        elements[element] = command[begin : begin + length]
        begin += length
    return elements


def read_uid(elements: dict[int, bytes], element: Element) -> str:
    """Return the value of an element of VR UI; empty where it is missing."""
    return text_of(elements.get(element, b""))


def read_number(elements: dict[int, bytes], element: Element) -> int:
    """Return the value of an element of VR US.

    Raises:
        BadAnswer: it is missing.
    """
    value = elements.get(element, b"")
    if len(value) != 2:
        raise BadAnswer(f"an answer without {element.name}")
    return int.from_bytes(value, "little")
