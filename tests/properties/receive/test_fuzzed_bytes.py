"""Any bytes whatever: the protocol modules raise their own error or go on."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from intu_fhir.receive.associate import AssociateRequest
from intu_fhir.receive.association import Association, Message
from intu_fhir.receive.dimse import SUCCESS, parse_command
from intu_fhir.receive.negotiation import Agreement, Policy, negotiate
from intu_fhir.receive.upper_layer import Fragment, PduReader
from intu_fhir.receive.violation import ProtocolViolation
from tests.support.raw_peer import (
    CONTEXTS,
    associate_request,
    command,
    echo_command,
    element,
    pdu,
    pdv,
    store_command,
    us,
)

POLICY = Policy("INTU_SCP", None, frozenset(), 16_384)
ids = st.sampled_from([0, 1, 2, 3, 5, 99, 255])
headers = st.integers(0, 255) | st.sampled_from([0, 1, 2, 3])
numbers = st.sampled_from([0x0000, 0x0002, 0x0100, 0x0110, 0x0800, 0x0900, 0x1000, 0xFFFF])
values = st.sampled_from([0, 1, 0x30, 0x0101, 0x0FFF, 0x8001, 0xFFFF])
elements = st.builds(us, numbers, values) | st.builds(element, numbers, st.binary(max_size=70))
commands = (
    st.lists(elements, max_size=8).map(lambda parts: command(*parts))
    | st.sampled_from([store_command("1.2.3"), echo_command(), store_command("")])
    | st.binary(max_size=60)
)
pdvs = st.builds(pdv, ids, headers, commands) | st.binary(max_size=20)
p_data = st.lists(pdvs, max_size=4).map(lambda parts: pdu(4, b"".join(parts)))
any_pdu = st.builds(pdu, st.integers(0, 255), st.binary(max_size=200))
requests = st.just(associate_request())
conversations = st.lists(p_data | any_pdu | requests | st.binary(max_size=30), max_size=8)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Give a good beginning of an association with some bytes changed, cut or put in."""
    whole = bytearray(
        associate_request(CONTEXTS)
        + pdu(4, pdv(3, 3, store_command("1.2.3")))
        + pdu(4, pdv(3, 2, b"\x08\x00\x18\x00UI\x04\x001.2\0"))
        + pdu(5, bytes(4))
    )
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, len(whole) - 1))
        change = draw(st.sampled_from(["set", "cut", "put"]))
        if change == "set":
            whole[where] = draw(st.integers(0, 255))
        elif change == "cut":
            del whole[where : where + draw(st.integers(1, 8))]
        else:
            whole[where:where] = draw(st.binary(max_size=8))
        if not whole:
            break
    return bytes(whole)


def awaited(stream: bytes, step: int) -> Iterator[bytes]:
    """Cut a stream up; what follows its first PDU comes apart, since a peer awaits its answer."""
    first = 6 + int.from_bytes(stream[2:6], "big")
    for part in (stream[:first], stream[first:]):
        for begin in range(0, len(part), step):
            yield part[begin : begin + step]


def converse(stream: bytes, step: int) -> int:
    """Play a receiver for a stream and return how many messages were answered."""
    reader, association, answered = PduReader(16_384), None, 0
    for piece in awaited(stream, step):
        for event in reader.feed(piece):
            if isinstance(event, AssociateRequest):
                decision = negotiate(event, POLICY)
                if not isinstance(decision, Agreement):
                    return answered
                association = Association(decision, 1_000)
                reader.established()
            elif isinstance(event, Fragment):
                assert association is not None
                step_taken = association.take(event)
                if isinstance(step_taken, Message):
                    reply = association.response(step_taken, step_taken.refusal or SUCCESS)
                    assert reply[0] == 4
                    answered += 1
    return answered


def survives(stream: bytes, step: int) -> None:
    """Nothing but our own error comes out of a conversation."""
    with contextlib.suppress(ProtocolViolation):
        converse(stream, step)


@given(st.lists(any_pdu | st.binary(max_size=40)), st.integers(1, 400))
def test_any_first_bytes_are_survived(parts: list[bytes], step: int) -> None:
    """Arbitrary PDUs and bytes before an association raise no foreign error."""
    survives(b"".join(parts), step)


@settings(max_examples=500)
@given(conversations, st.integers(1, 400))
def test_any_conversation_is_survived(parts: list[bytes], step: int) -> None:
    """Arbitrary PDUs and commands within an association raise no foreign error."""
    survives(associate_request() + b"".join(parts), step)


@settings(max_examples=1_000)
@given(damaged(), st.integers(1, 400))
def test_damaged_conversation_is_survived(stream: bytes, step: int) -> None:
    """A valid stream with some bytes changed raises no foreign error."""
    survives(stream, step)


@given(st.binary(max_size=300) | commands)
def test_any_command_set_is_read_or_refused(data: bytes) -> None:
    """Arbitrary bytes as a command set are a request or a violation."""
    try:
        parse_command(data)
    except ProtocolViolation:
        return


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_data_arrives_byte_for_byte(pieces: list[bytes], data: st.DataObject) -> None:
    """However a data set is cut into fragments, PDUs and reads, its bytes come out in order."""
    stream = b"".join(pdu(4, pdv(3, 0, piece)) for piece in pieces) + pdu(4, pdv(3, 2, b""))
    step = data.draw(st.integers(1, len(stream)))
    reader = PduReader(16_384)
    reader.established()
    got = b""
    for begin in range(0, len(stream), step):
        for event in reader.feed(stream[begin : begin + step]):
            assert isinstance(event, Fragment)
            got += event.data
    assert got == b"".join(pieces)


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_header_alone_decides(length: int, kind: int) -> None:
    """Whatever six bytes claim, they are refused at once or the room stays small."""
    reader = PduReader(16_384)
    try:
        list(reader.feed(struct.pack(">BxI", kind, length)))
    except ProtocolViolation:
        return
    assert len(reader.space()) <= 2 * (16_384 + 6)
