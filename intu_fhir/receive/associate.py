"""A-ASSOCIATE-RQ from bytes and A-ASSOCIATE-AC to bytes (PS3.8 9.3.2 and 9.3.3, PS3.7 annex D).

Items that the standard does not name are skipped, as it asks (PS3.8 9.3.1); items that lie about
their length, and contexts that cannot be told apart, end the association.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from intu_fhir.receive.violation import ProtocolViolation

MAX_CONTEXTS = 128
"""There are no more odd numbers for them (PS3.8 9.3.2.2)."""
MAX_ITEMS = 4_096
"""Most items of a request unless told otherwise: 128 contexts of 28 transfer syntaxes each."""
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

LONG_REQUEST = 8_192
"""A request of more bytes takes milliseconds to read and to judge."""

_FIXED = struct.Struct(">H2x16s16s32s")
_ITEM = struct.Struct(">BxH")
_ASSOCIATE_AC = 2


class Item(IntEnum):
    """Item types (PS3.8 9.3.2 and 9.3.3, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    CONTEXT_RQ = 0x20
    CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS = 0x52
    ASYNCHRONOUS_OPERATIONS = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55
    EXTENDED_NEGOTIATION = 0x56
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of a request."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection for one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who a requester says it is (PS3.7 D.3.3.7).

    Args:
        kind: 1 name, 2 name and passcode, 3 Kerberos, 4 SAML, 5 JWT.
        name: the primary field.
        passcode: the secondary field; kept out of every text.
    """

    kind: int
    name: bytes = field(repr=False)
    passcode: bytes = field(repr=False)


@dataclass(slots=True)
class UserInformation:
    """What a requester says of itself (PS3.7 D.3.3).

    Args:
        max_pdu_bytes: longest P-DATA-TF it takes; 0 means any.
        asynchronous_operations: the window it proposes, if it proposes one.
        extended: SOP classes with SOP Class Extended Negotiation.
        user_identity: who it says it is, if it does.
        positive_response_requested: it wants to be told that the identity was taken.
    """

    max_pdu_bytes: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    roles: list[Role] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    user_identity: UserIdentity | None = None
    positive_response_requested: bool = False


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2); AE titles without padding, not yet judged.

    Args:
        echoed: the bytes that an A-ASSOCIATE-AC repeats: both AE titles and a reserved field.
        is_long: so much came that it takes milliseconds to deal with.
    """

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    echoed: bytes
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """One presentation context of an answer; ``result`` as in PS3.8 table 9-18."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class UserAnswer:
    """The user information of an answer (PS3.7 D.3.3)."""

    max_pdu_bytes: int
    implementation_class_uid: str
    implementation_version_name: str
    asynchronous_operations: tuple[int, int] | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[tuple[str, bytes], ...] = ()
    user_identity_accepted: bool = False


class _Budget:
    """How many items of a request may still come: small ones cost far more than their bytes."""

    __slots__ = ("left", "most")

    def __init__(self, most: int) -> None:
        self.most = self.left = most


def parse_associate_request(body: memoryview, max_items: int = MAX_ITEMS) -> AssociateRequest:
    """Read the variable field of an A-ASSOCIATE-RQ.

    Where there are more contexts than can be told apart, one of those too many is kept, so that
    whoever decides sees it.

    Args:
        max_items: most items and sub-items in all.

    Raises:
        ProtocolViolation: lengths do not fit, contexts cannot be told apart, or there are too many
            items.
    """
    budget = _Budget(max_items)
    if len(body) < _FIXED.size:
        raise ProtocolViolation(f"A-ASSOCIATE-RQ of {len(body)} bytes")
    version, called, calling, _ = _FIXED.unpack_from(body)
    application_context = ""
    contexts: list[ProposedContext] = []
    user = UserInformation()
    for kind, value in _items(body[_FIXED.size :], budget):
        if kind == Item.APPLICATION_CONTEXT:
            application_context = _text(value)
        elif kind == Item.CONTEXT_RQ:
            if len(contexts) <= MAX_CONTEXTS:
                contexts.append(_context(value, budget))
        elif kind == Item.USER_INFORMATION:
            _read_user_information(user, value, budget)
    if len(contexts) <= MAX_CONTEXTS:
        _check_ids(contexts)
    return AssociateRequest(
        protocol_version=version,
        called_ae_title=_text(called),
        calling_ae_title=_text(calling),
        application_context=application_context,
        contexts=tuple(contexts),
        user=user,
        echoed=bytes(body[4 : _FIXED.size]),
        is_long=len(body) > LONG_REQUEST,
    )


def _items(body: memoryview, budget: _Budget) -> Iterator[tuple[int, memoryview]]:
    begin, size = 0, len(body)
    while begin < size:
        budget.left -= 1
        if budget.left < 0:
            raise ProtocolViolation(
                f"an A-ASSOCIATE-RQ of more than {budget.most} items", limit="max_associate_items"
            )
        if size - begin < _ITEM.size:
            raise ProtocolViolation("an item of the A-ASSOCIATE-RQ ends inside its header")
        kind, length = _ITEM.unpack_from(body, begin)
        end = begin + _ITEM.size + length
        if end > size:
            raise ProtocolViolation(f"item {kind:#04x} of {length} bytes ends outside its PDU")
        yield kind, body[begin + _ITEM.size : end]
        begin = end


def _text(value: bytes | memoryview) -> str:
    """Return a UID or an AE title without padding; other than ASCII becomes U+FFFD."""
    return bytes(value).strip(b" \0").decode("ascii", "replace")


def _context(value: memoryview, budget: _Budget) -> ProposedContext:
    if len(value) < 4:
        raise ProtocolViolation(f"presentation context of {len(value)} bytes")
    abstract_syntax, transfer_syntaxes = "", []
    for kind, sub_item in _items(value[4:], budget):
        if kind == Item.ABSTRACT_SYNTAX:
            abstract_syntax = _text(sub_item)
        elif kind == Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(_text(sub_item))
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _check_ids(contexts: list[ProposedContext]) -> None:
    """Make sure that there are contexts, with odd and unique IDs (PS3.8 9.3.2 and 9.3.2.2)."""
    if not contexts:
        raise ProtocolViolation("no presentation context (PS3.8 9.3.2)")
    ids = {context.context_id for context in contexts}
    if len(ids) != len(contexts) or any(context_id % 2 == 0 for context_id in ids):
        raise ProtocolViolation("presentation context IDs are not odd and unique")


def _read_user_information(user: UserInformation, value: memoryview, budget: _Budget) -> None:
    for kind, sub_item in _items(value, budget):
        read = _USER_ITEMS.get(kind)
        if read is not None:
            try:
                read(user, sub_item)
            except (struct.error, IndexError):
                raise ProtocolViolation(f"user information item {kind:#04x} is cut off") from None


def _maximum_length(user: UserInformation, value: memoryview) -> None:
    (user.max_pdu_bytes,) = struct.unpack_from(">I", value)


def _implementation_class(user: UserInformation, value: memoryview) -> None:
    user.implementation_class_uid = _text(value)


def _implementation_version(user: UserInformation, value: memoryview) -> None:
    user.implementation_version_name = _text(value)


def _asynchronous_operations(user: UserInformation, value: memoryview) -> None:
    invoked, performed = struct.unpack_from(">HH", value)
    user.asynchronous_operations = (invoked, performed)


def _leading_field(value: memoryview) -> tuple[memoryview, memoryview]:
    """Split a value that begins with the length of a field; a length that lies is cut off."""
    (length,) = struct.unpack_from(">H", value)
    if 2 + length > len(value):
        raise IndexError
    return value[2 : 2 + length], value[2 + length :]


def _leading_uid(value: memoryview) -> tuple[str, memoryview]:
    uid, rest = _leading_field(value)
    return _text(uid), rest


def _role_selection(user: UserInformation, value: memoryview) -> None:
    uid, roles = _leading_uid(value)
    user.roles.append(Role(uid, scu=roles[0] == 1, scp=roles[1] == 1))


def _extended_negotiation(user: UserInformation, value: memoryview) -> None:
    user.extended.append(_leading_uid(value)[0])


def _user_identity(user: UserInformation, value: memoryview) -> None:
    name, rest = _leading_field(value[2:])
    passcode = _leading_field(rest)[0] if rest else b""
    user.user_identity = UserIdentity(value[0], bytes(name), bytes(passcode))
    user.positive_response_requested = value[1] == 1


_USER_ITEMS: dict[int, Callable[[UserInformation, memoryview], None]] = {
    Item.MAXIMUM_LENGTH: _maximum_length,
    Item.IMPLEMENTATION_CLASS: _implementation_class,
    Item.IMPLEMENTATION_VERSION: _implementation_version,
    Item.ASYNCHRONOUS_OPERATIONS: _asynchronous_operations,
    Item.ROLE_SELECTION: _role_selection,
    Item.EXTENDED_NEGOTIATION: _extended_negotiation,
    Item.USER_IDENTITY_RQ: _user_identity,
}


def encode_associate_accept(
    request: AssociateRequest, contexts: tuple[AnsweredContext, ...], user: UserAnswer
) -> bytes:
    """Return an A-ASSOCIATE-AC (PS3.8 9.3.3)."""
    items = [_item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode())]
    items += [_encode_context(context) for context in contexts]
    items.append(_item(Item.USER_INFORMATION, b"".join(_encode_user(user))))
    body = struct.pack(">H2x", 1) + request.echoed + b"".join(items)
    return struct.pack(">BxI", _ASSOCIATE_AC, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _encode_context(context: AnsweredContext) -> bytes:
    syntax = _item(Item.TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii", "replace"))
    return _item(Item.CONTEXT_AC, struct.pack("BxBx", context.context_id, context.result) + syntax)


def _with_uid(uid: str, rest: bytes) -> bytes:
    value = uid.encode("ascii", "replace")
    return struct.pack(">H", len(value)) + value + rest


def _encode_user(user: UserAnswer) -> Iterator[bytes]:
    yield _item(Item.MAXIMUM_LENGTH, struct.pack(">I", user.max_pdu_bytes))
    yield _item(Item.IMPLEMENTATION_CLASS, user.implementation_class_uid.encode())
    if user.asynchronous_operations is not None:
        window = struct.pack(">HH", *user.asynchronous_operations)
        yield _item(Item.ASYNCHRONOUS_OPERATIONS, window)
    for role in user.roles:
        yield _item(Item.ROLE_SELECTION, _with_uid(role.sop_class_uid, bytes((role.scu, role.scp))))
    yield _item(Item.IMPLEMENTATION_VERSION, user.implementation_version_name.encode())
    for uid, information in user.extended:
        yield _item(Item.EXTENDED_NEGOTIATION, _with_uid(uid, information))
    if user.user_identity_accepted:
        yield _item(Item.USER_IDENTITY_AC, struct.pack(">H", 0))
