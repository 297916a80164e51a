"""The requestor's half of the upper layer, against another implementation of it."""

from __future__ import annotations

import struct

import pytest
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification

from intu_fhir.deliver import upper_layer as ul
from intu_fhir.deliver.accepted import parse_associate_accept
from intu_fhir.deliver.upper_layer import BadAnswer, Context, Pdu

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG = "1.2.840.10008.1.2.4.70"


def _accept(max_pdu_bytes: int = 16_384) -> bytes:
    """Return an A-ASSOCIATE-AC as pynetdicom makes it: one context granted, one not."""
    granted, refused = build_context(CT, JPEG), build_context(CT, JPEG)
    granted.context_id, granted.result = 1, 0
    refused.context_id, refused.result = 3, 4
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    primitive = A_ASSOCIATE()
    primitive.application_context_name = ul.APPLICATION_CONTEXT
    primitive.calling_ae_title, primitive.called_ae_title = "US", "THEM"
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = [granted, refused]
    primitive.user_information = [length]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    encoded: bytes = pdu.encode()
    return encoded[ul.PDU_HEADER_BYTES :]


def test_request_is_understood() -> None:
    """Another implementation reads titles, contexts and the longest PDU as they were meant."""
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(ul.encode_associate_request("US", "THEM", [Context(1, CT, JPEG)]))
    primitive = pdu.to_primitive()
    (context,) = primitive.presentation_context_definition_list
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("US", "THEM")
    assert (context.context_id, context.abstract_syntax) == (1, CT)
    assert context.transfer_syntax == [JPEG]
    assert primitive.maximum_length_received == ul.MAX_PDU_BYTES
    assert primitive.implementation_class_uid == ul.IMPLEMENTATION_CLASS_UID


def test_accept_is_understood() -> None:
    """Results, transfer syntaxes and the longest PDU of an accept are read."""
    accepted = parse_associate_accept(_accept())
    assert accepted.results == {1: 0, 3: 4}
    assert accepted.transfer_syntaxes[1] == JPEG
    assert accepted.max_pdu_bytes == 16_384


@pytest.mark.parametrize("end", range(1, 68))
def test_accept_cut_in_its_fixed_part(end: int) -> None:
    """An accept that ends inside its fixed part is refused."""
    with pytest.raises(BadAnswer):
        parse_associate_accept(_accept()[:end])


def test_accept_with_a_pdu_length_that_holds_nothing() -> None:
    """A peer that takes PDUs of seven bytes cannot be sent anything."""
    with pytest.raises(BadAnswer, match="7 bytes"):
        parse_associate_accept(_accept(7))


def test_reject_is_understood() -> None:
    """Result, source and reason of a reject are read."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = 1, 1, 7
    assert ul.parse_reject(pdu.encode()[ul.PDU_HEADER_BYTES :]) == (1, 1, 7)


def test_request_for_all_contexts_an_association_can_have() -> None:
    """128 contexts have odd IDs up to 255 and are read back."""
    contexts = [Context(2 * n + 1, f"{CT}.{n}", JPEG) for n in range(ul.MAX_CONTEXTS)]
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(ul.encode_associate_request("US", "THEM", contexts))
    assert len(pdu.to_primitive().presentation_context_definition_list) == 128


@pytest.mark.parametrize(
    ("header", "pdu"),
    [
        (struct.pack(">BxI", 4, 65_536), Pdu.P_DATA_TF),
        (struct.pack(">BxI", 7, 4), Pdu.ABORT),
    ],
)
def test_pdu_header(header: bytes, pdu: Pdu) -> None:
    """A PDU that fits is announced by type and length."""
    assert ul.read_pdu_header(header)[0] is pdu


@pytest.mark.parametrize(
    "header",
    [
        b"HTTP/1",
        struct.pack(">BxI", 4, 2**31),
        struct.pack(">BxI", 4, 65_537),
        struct.pack(">BxI", 2, 2**24),
        struct.pack(">BxI", 7, 5),
        struct.pack(">BxI", 1, 100),
        struct.pack(">BxI", 0, 0),
    ],
)
def test_pdu_header_that_claims_too_much(header: bytes) -> None:
    """What is no PDU of an acceptor, or too long for one, is refused before it is waited for."""
    with pytest.raises(BadAnswer):
        ul.read_pdu_header(header)


def test_store_request_is_a_command_set() -> None:
    """The group length counts the rest, UIDs are padded to even length."""
    command = ul.encode_store_request(7, CT, "1.2.3")
    assert struct.unpack_from("<HHII", command)[3] == len(command) - 12
    assert b"1.2.3\0" in command
    assert len(command) % 2 == 0


def test_response_needs_what_makes_it_one() -> None:
    """Command field, message ID and status must be there; the rest may be missing."""
    whole = _response(0x8001, 7, 0)
    assert ul.parse_response(whole).message_id == 7
    for cut in (whole[10:], whole[:-10], whole[:-1], whole + b"\0"):
        with pytest.raises(BadAnswer):
            ul.parse_response(cut)


def test_fragments_that_lie_about_their_length() -> None:
    """A PDV that ends outside its PDU, or holds not even its header, is refused."""
    for body in (b"\0\0\0\x05\x01\x03", b"\0\0\0\x01\x01\x03", b"\0\0\0", b"\xff\xff\xff\xff\1\3"):
        with pytest.raises(BadAnswer):
            list(ul.parse_fragments(body))


def _response(field: int, message_id: int, status: int) -> bytes:
    numbers = ((0x0100, field), (0x0120, message_id), (0x0900, status))
    return b"".join(struct.pack("<HHIH", 0, element, 2, value) for element, value in numbers)
