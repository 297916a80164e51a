"""Command sets: what is read, what must be there, what an answer looks like."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.filereader import read_dataset

from intu_fhir.receive.dimse import (
    ActionRequest,
    Answer,
    CancelRequest,
    EchoRequest,
    OtherRequest,
    StoreRequest,
    encode_response,
    parse_command,
)
from intu_fhir.receive.violation import ProtocolViolation
from tests.support.raw_peer import command, echo_command, element, store_command, us

REQUEST = StoreRequest(7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", has_data_set=True)


def test_requests_are_read() -> None:
    """C-STORE, C-ECHO, C-CANCEL and others become what they are."""
    assert parse_command(store_command("1.2.3")) == REQUEST
    assert parse_command(echo_command(9)) == EchoRequest(9, "1.2.840.10008.1.1", has_data_set=False)
    cancel = command(us(0x0100, 0x0FFF), us(0x0120, 1), us(0x0800, 0x0101))
    assert parse_command(cancel) == CancelRequest()
    action = command(
        element(0x0003, b"1.2.840.10008.1.20.1"),
        us(0x0100, 0x0130),
        us(0x0110, 2),
        us(0x0800, 1),
        element(0x1001, b"1.2.840.10008.1.20.1.1"),
        us(0x1008, 1),
    )
    assert parse_command(action) == ActionRequest(
        2, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 1, has_data_set=True
    )
    get = command(
        element(0x0003, b"1.2.840.10008.5.1.1.16"),
        us(0x0100, 0x0110),
        us(0x0110, 3),
        us(0x0800, 0x0101),
    )
    assert parse_command(get) == OtherRequest(3, 0x0110, "1.2.840.10008.5.1.1.16", False)


def test_missing_uids_leave_a_request_that_can_be_answered() -> None:
    """A C-STORE without UIDs is read, so that it gets a status."""
    bare = command(us(0x0100, 1), us(0x0110, 2), us(0x0800, 1))
    assert parse_command(bare) == StoreRequest(2, "", "", has_data_set=True)


def test_bytes_that_are_no_text_are_read_as_no_uid() -> None:
    """Bytes outside ASCII in a UID do no harm."""
    odd = command(us(0x0100, 1), us(0x0110, 2), us(0x0800, 1), element(0x1000, b"1.2\xff\x00\x00"))
    parsed = parse_command(odd)
    assert isinstance(parsed, StoreRequest)
    assert parsed.sop_instance_uid == "1.2\ufffd"


@pytest.mark.parametrize(
    "data",
    [
        store_command("1.2.3")[:-1],
        store_command("1.2.3")[:3],
        store_command("1.2.3") + us(0x0110, 3),
        command(us(0x0100, 1), element(0x0110, b"\1\0\2\0"), us(0x0800, 1)),
        command(us(0x0100, 1), element(0x0110, b""), us(0x0800, 1)),
        command(us(0x0100, 0x0FFF), us(0x0800, 0)),
        bytes.fromhex("0000000104000000") + b"\0",
        bytes.fromhex("00000001ffffffff"),
    ],
)
def test_unreadable_command_is_a_violation(data: bytes) -> None:
    """What is cut off, repeated, or lacks a number raises our own error and no other."""
    with pytest.raises(ProtocolViolation):
        parse_command(data)


def test_answer_is_read_back_by_pydicom() -> None:
    """Status, comment and offending elements stand where pydicom finds them."""
    answer = Answer(0xA900, "x" * 100, (0x0008_0016, 0x0008_0018))
    data = encode_response(REQUEST, answer)
    read = read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)
    assert read.CommandGroupLength == len(data) - 12
    assert read.CommandField == 0x8001
    assert read.MessageIDBeingRespondedTo == 7
    assert read.CommandDataSetType == 0x0101
    assert read.Status == 0xA900
    assert read.ErrorComment == "x" * 64
    assert [int(tag) for tag in read.OffendingElement] == [0x0008_0016, 0x0008_0018]
    assert read.AffectedSOPInstanceUID == "1.2.3"
    assert [element.tag for element in read] == sorted(element.tag for element in read)


def test_comment_outside_ascii_is_made_ascii() -> None:
    """An Error Comment has the default repertoire and even length."""
    data = encode_response(REQUEST, Answer(0xC000, "größe"))
    assert b"gr??e" in data
    assert len(data) % 2 == 0
