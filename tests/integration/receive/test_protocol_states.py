"""What a peer may say when, over real sockets: answered by the table or aborted, never stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from intu_fhir.errors import IdentityMismatch
from intu_fhir.model.instance import Accepted, Disposition, ReceivedObject
from intu_fhir.receive.negotiation import SMALLEST_PDU
from intu_fhir.stage.header import read_header
from tests.integration.receive.conftest import StartReceiving
from tests.support.raw_peer import (
    ASSOCIATE_RJ,
    COMMAND,
    CONTEXTS,
    CT_ID,
    DATA,
    IMPLICIT,
    LAST,
    MR_ID,
    MR_IMAGE_STORAGE,
    P_DATA,
    VERIFICATION,
    VERIFICATION_ID,
    RawPeer,
    associate_request,
    command,
    echo_command,
    element,
    pdu,
    pdv,
    status_of,
    store_command,
    us,
)
from tests.support.receiving import Receiving, Recorder
from tests.support.studies import data_set_bytes, make_instance, uid

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())


def read_as_staging_does(received: ReceivedObject, data: bytes) -> Accepted:
    """Judge the content with the scanner that staging uses."""
    header = read_header(memoryview(data), received.transfer_syntax_uid)
    if header.sop_instance_uid != received.sop_instance_uid:
        raise IdentityMismatch("data set and command differ")
    return Accepted(Disposition.STORED, header.sop_instance_uid)


@pytest.fixture
def strict(start_receiving: StartReceiving) -> Receiving:
    """A listener whose ``accept`` reads the object."""
    return start_receiving(recorder=Recorder(read_as_staging_does))


@pytest.fixture
def peer(strict: Receiving) -> Iterator[RawPeer]:
    """An associated peer."""
    with RawPeer(strict.port) as peer:
        peer.associate()
        yield peer


def assert_still_serves(peer: RawPeer) -> None:
    """The association goes on as if nothing had happened."""
    assert status_of(peer.store(OBJECT, UID)) == 0x0000


def assert_aborted(peer: RawPeer, receiving: Receiving) -> None:
    """The association ends with an A-ABORT and leaves nothing behind."""
    assert peer.is_ended()
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]
    assert receiving.recorder.objects == []
    assert receiving.spooled() == []


def test_whole_object_is_stored(peer: RawPeer, strict: Receiving) -> None:
    """A valid C-STORE is answered 0000 with the UIDs of its request and stored byte for byte."""
    answer = peer.store(OBJECT, UID)
    assert status_of(answer) == 0x0000
    assert answer[0x1000].rstrip(b"\0").decode() == UID
    assert int.from_bytes(answer[0x0120], "little") == 7
    assert [data for _, data in strict.recorder.objects] == [OBJECT]


CONTENT = {
    "truncated pixel data": (OBJECT[:-3], 0xC000),
    "random bytes": (bytes(range(7, 250)) * 4, 0xC000),
    "a line of HTTP": (b"GET / HTTP/1.1\r\n\r\n", 0xC000),
    "cut inside an element header": (OBJECT[:13], 0xC000),
}


@pytest.mark.parametrize("case", CONTENT)
def test_unreadable_content_is_refused(case: str, peer: RawPeer, strict: Receiving) -> None:
    """N-08: what is no complete data set is answered C000; the next object is stored."""
    data, status = CONTENT[case]
    assert status_of(peer.store(data, UID)) == status
    assert strict.spooled() == []
    assert_still_serves(peer)


def test_empty_data_set_is_refused(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a data set without any element has no UID: it is answered 0117."""
    assert status_of(peer.store(b"", UID)) == 0x0117
    assert strict.spooled() == []


def test_data_set_of_another_instance_is_refused(peer: RawPeer) -> None:
    """N-08: command and data set that differ are answered A900 with Offending Element."""
    answer = peer.store(OBJECT, "1.2.3.999")
    assert status_of(answer) == 0xA900
    assert answer[0x0901] == bytes.fromhex("0800160008001800")
    assert_still_serves(peer)


@pytest.mark.parametrize("bad", ["", "../../../../tmp/evil", "1.2.x", "1" * 65, "1..2"])
def test_command_without_a_valid_instance_uid_is_refused(
    bad: str, peer: RawPeer, strict: Receiving
) -> None:
    """N-08: a SOP Instance UID that is missing or none is answered 0117 and never sent back."""
    answer = peer.store(OBJECT, bad)
    assert status_of(answer) == 0x0117
    assert 0x1000 not in answer
    assert strict.recorder.objects == []
    assert_still_serves(peer)


def test_sop_class_of_another_context_is_refused(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a C-STORE whose SOP class is not that of its context is answered A900."""
    peer.send_command(store_command(UID, sop_class_uid=MR_IMAGE_STORAGE))
    peer.send_data(OBJECT)
    assert status_of(peer.response()) == 0xA900
    assert strict.recorder.objects == []
    assert_still_serves(peer)


def test_store_on_verification_context_is_refused(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a C-STORE on the Verification context is answered 0122."""
    peer.send_command(store_command(UID, sop_class_uid=VERIFICATION), VERIFICATION_ID)
    peer.send_data(OBJECT, VERIFICATION_ID)
    assert status_of(peer.response()) == 0x0122
    assert strict.recorder.objects == []


def test_echo_on_storage_context_is_refused(peer: RawPeer) -> None:
    """N-08: a C-ECHO on a storage context is answered 0122."""
    peer.send_command(echo_command(), CT_ID)
    assert status_of(peer.response()) == 0x0122
    assert_still_serves(peer)


def test_data_set_on_another_context_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a data set on another accepted context than its command ends the association."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT, MR_ID)
    assert_aborted(peer, strict)


def test_data_set_on_unknown_context_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a data set on a context that was never negotiated ends the association."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT, 99)
    assert_aborted(peer, strict)


def test_command_on_unknown_context_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a command on a context that was never negotiated ends the association."""
    peer.send_command(store_command(UID), 99)
    assert_aborted(peer, strict)


def test_command_on_refused_context_aborts(strict: Receiving) -> None:
    """N-08: a command on a context that was refused in negotiation ends the association."""
    with RawPeer(strict.port) as peer:
        peer.associate((*CONTEXTS, (7, "1.2.3.4.5", (IMPLICIT,))))
        peer.send_command(store_command(UID, sop_class_uid="1.2.3.4.5"), 7)
        assert_aborted(peer, strict)


def test_second_command_before_data_set_ends_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a command inside a data set ends the association, so no data is misplaced."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT[:100], last=False)
    peer.send_command(store_command("1.2.3.4"))
    peer.send_data(OBJECT)
    assert_aborted(peer, strict)


def test_data_set_without_command_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a data set that follows no command ends the association."""
    peer.send_data(OBJECT)
    assert_aborted(peer, strict)


def test_command_that_changes_context_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a command set in fragments on two contexts ends the association."""
    whole = store_command(UID)
    peer.send_pdvs(pdv(CT_ID, COMMAND, whole[:20]), pdv(MR_ID, COMMAND | LAST, whole[20:]))
    assert_aborted(peer, strict)


def test_store_without_data_set_is_refused(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a C-STORE that announces no data set is answered C000 at once."""
    peer.send_command(store_command(UID, data_set_type=0x0101))
    assert status_of(peer.response()) == 0xC000
    assert strict.recorder.objects == []
    assert_still_serves(peer)


def test_echo_with_a_data_set_is_refused(peer: RawPeer) -> None:
    """A C-ECHO that announces a data set is answered 0212 once that has been read (PS3.7 C)."""
    announced = command(
        element(0x0002, VERIFICATION.encode()),
        us(0x0100, 0x0030),
        us(0x0110, 5),
        us(0x0800, 0x0001),
    )
    peer.send_command(announced, VERIFICATION_ID)
    peer.send_data(OBJECT, VERIFICATION_ID)
    answer = peer.response()
    assert status_of(answer) == 0x0212
    assert answer[0x0901] == bytes.fromhex("00000008")
    assert_still_serves(peer)


def test_unserved_command_is_refused_after_its_data_set(peer: RawPeer) -> None:
    """N-08: a C-FIND is answered 0211 when its identifier has been read, and the rest goes on."""
    peer.send_command(
        command(
            element(0x0002, b"1.2.840.10008.5.1.4.1.2.1.1"),
            us(0x0100, 0x0020),
            us(0x0110, 3),
            us(0x0800, 0x0001),
        )
    )
    peer.send_data(b"\x08\x00\x52\x00CS\x06\x00STUDY ")
    answer = peer.response()
    assert status_of(answer) == 0x0211
    assert int.from_bytes(answer[0x0100], "little") == 0x8020
    assert_still_serves(peer)


def test_cancel_is_ignored(peer: RawPeer) -> None:
    """A C-CANCEL has no answer and disturbs nothing."""
    peer.send_command(command(us(0x0100, 0x0FFF), us(0x0120, 7), us(0x0800, 0x0101)))
    assert_still_serves(peer)


NO_ANSWER_POSSIBLE = {
    "no command field": command(us(0x0110, 1), us(0x0800, 0x0101)),
    "no message id": command(us(0x0100, 0x0030), us(0x0800, 0x0101)),
    "no data set type": command(us(0x0100, 0x0001), us(0x0110, 1)),
    "a response": command(us(0x0100, 0x8001), us(0x0120, 1), us(0x0800, 0x0101)),
    "another group": bytes.fromhex("0800000004000000") + bytes(4),
    "cut off": store_command(UID)[:-5],
    "empty": b"",
}


@pytest.mark.parametrize("case", NO_ANSWER_POSSIBLE)
def test_command_that_cannot_be_answered_aborts(
    case: str, peer: RawPeer, strict: Receiving
) -> None:
    """N-08: a command set that lacks what an answer needs ends the association."""
    peer.send_command(NO_ANSWER_POSSIBLE[case])
    assert_aborted(peer, strict)


def test_release_inside_a_message_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a release before the data set ended is a violation, not a release."""
    peer.send_command(store_command(UID))
    peer.send(pdu(5, bytes(4)))
    assert_aborted(peer, strict)


EARLY = {
    "data": pdu(4, pdv(VERIFICATION_ID, COMMAND | LAST, echo_command())),
    "a release": pdu(5, bytes(4)),
    "a request": associate_request(),
    "half a PDU": pdu(4, bytes(20))[:9],
}


@pytest.mark.parametrize("case", EARLY)
def test_peer_that_does_not_wait_for_the_answer_aborts(case: str, strict: Receiving) -> None:
    """N-08: what comes together with the request, before it is answered, ends it (PS3.8 Sta3)."""
    with RawPeer(strict.port) as peer:
        peer.send(associate_request() + EARLY[case])
        assert peer.read() == (7, bytes((0, 0, 2, 2)))
        assert peer.is_ended()
    assert strict.recorder.ends == []


def test_abort_together_with_the_request_is_one(strict: Receiving) -> None:
    """A peer may take its request back before it is answered (PS3.8 Sta3, AA-3)."""
    with RawPeer(strict.port) as peer:
        peer.send(associate_request() + pdu(7, bytes(4)))
        assert strict.recorder.wait_for_ends() == ["aborted_by_peer"]


def test_request_without_presentation_contexts_aborts(strict: Receiving) -> None:
    """N-08: an A-ASSOCIATE-RQ has one presentation context or more (PS3.8 9.3.2)."""
    with RawPeer(strict.port) as peer:
        peer.send(associate_request(()))
        assert peer.read() == (7, bytes((0, 0, 2, 6)))
    assert strict.recorder.ends == []


def test_second_association_request_aborts(peer: RawPeer, strict: Receiving) -> None:
    """N-08: an A-ASSOCIATE-RQ within an association ends it."""
    peer.send(associate_request())
    assert_aborted(peer, strict)


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 8, 0, 255])
def test_connection_that_does_not_begin_with_a_request_aborts(kind: int, strict: Receiving) -> None:
    """N-08: any PDU but A-ASSOCIATE-RQ or A-ABORT as the first one is answered A-ABORT."""
    with RawPeer(strict.port) as peer:
        peer.send(pdu(kind, bytes(4)))
        assert peer.read()[0] == 7
        assert peer.is_ended()
    assert strict.recorder.ends == []


def test_abort_of_the_peer_drops_the_object_in_hand(peer: RawPeer, strict: Receiving) -> None:
    """N-08: an A-ABORT inside a data set leaves nothing in the spool and counts nothing."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT[:100], last=False)
    peer.send(pdu(7, bytes(4)))
    assert strict.recorder.wait_for_ends() == ["aborted_by_peer"]
    assert strict.recorder.ends[0][2] == {}
    assert strict.spooled() == []


def test_lost_connection_drops_the_object_in_hand(peer: RawPeer, strict: Receiving) -> None:
    """N-08: a connection that closes inside a data set leaves nothing in the spool."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT[:100], last=False)
    peer.socket.close()
    assert strict.recorder.wait_for_ends() == ["connection_lost"]
    assert strict.spooled() == []


def test_fragments_may_be_cut_and_packed_in_any_way(peer: RawPeer, strict: Receiving) -> None:
    """A command and data set in many fragments, several to a PDU, make one object."""
    whole = store_command(UID)
    commands = [pdv(CT_ID, COMMAND, whole[i : i + 11]) for i in range(0, len(whole), 11)]
    pieces = [pdv(CT_ID, DATA, OBJECT[i : i + 17]) for i in range(0, len(OBJECT), 17)]
    peer.send_pdvs(*commands, pdv(CT_ID, COMMAND | LAST, b""), *pieces[:5])
    peer.send_pdvs(*pieces[5:], pdv(CT_ID, DATA | LAST, b""))
    assert status_of(peer.response()) == 0x0000
    assert strict.recorder.objects[0][1] == OBJECT


def test_pipelined_messages_are_answered_in_order(peer: RawPeer, strict: Receiving) -> None:
    """N-08: messages sent without waiting are taken one after the other, in order."""
    for message_id in (11, 12, 13):
        peer.send_command(store_command(UID, message_id=message_id))
        peer.send_data(OBJECT)
    answers = [peer.response() for _ in range(3)]
    assert [int.from_bytes(answer[0x0120], "little") for answer in answers] == [11, 12, 13]
    assert len(strict.recorder.objects) == 3


def test_answer_fits_the_smallest_pdu_of_the_peer(strict: Receiving) -> None:
    """A peer that takes PDUs of 129 bytes gets its answers in even pieces that it takes."""
    with RawPeer(strict.port) as peer:
        peer.associate(max_pdu_bytes=SMALLEST_PDU + 1)
        peer.send_command(store_command(UID))
        peer.send_data(OBJECT)
        lengths, is_last = [], False
        while not is_last:
            kind, body = peer.read()
            assert kind == P_DATA
            lengths.append(len(body))
            is_last = bool(body[5] & LAST)
        assert len(lengths) > 1
        assert max(lengths) <= SMALLEST_PDU
        assert not any(length % 2 for length in lengths)


def test_absurdly_short_pdus_are_refused(strict: Receiving) -> None:
    """A peer that takes still shorter PDUs is rejected before anything is sent in them."""
    with RawPeer(strict.port) as peer:
        peer.send(associate_request(max_pdu_bytes=SMALLEST_PDU - 1))
        kind, body = peer.read()
    assert (kind, tuple(body[1:4])) == (ASSOCIATE_RJ, (1, 1, 1))


def test_every_association_is_told_once(strict: Receiving) -> None:
    """The end of an association is told once, with the number of objects by disposition."""
    with RawPeer(strict.port) as peer:
        peer.associate()
        peer.store(OBJECT, UID)
        peer.store(OBJECT[:-1], UID)
        peer.release()
    strict.recorder.wait_for_ends()
    strict.listener.stop(grace_seconds=1)
    ((origin, reason, counts),) = strict.recorder.ends
    assert (reason, counts) == ("released", {Disposition.STORED: 1, Disposition.REFUSED: 1})
    assert (origin.calling_ae_title, origin.called_ae_title) == ("PEER", "INTU_SCP")
