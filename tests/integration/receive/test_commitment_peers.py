"""Storage commitment on the wire: what is refused, and how results are told between messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from intu_fhir.errors import InvalidDataSet, LimitPassed, StoreUnavailable
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.receive.intake import MAX_INFORMATION_BYTES
from intu_fhir.receive.reporting import NotReported, Report
from tests.integration.receive.conftest import StartReceiving
from tests.support.raw_peer import (
    CONTEXTS,
    CT_ID,
    IMPLICIT,
    RawPeer,
    command,
    echo_command,
    element,
    elements_of,
    pdu,
    status_of,
    store_command,
    us,
)
from tests.support.receiving import Receiving, wait_until
from tests.support.studies import data_set_bytes, make_instance, uid

COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
COMMITMENT_ID = 9
WITH_COMMITMENT = (*CONTEXTS, (COMMITMENT_ID, COMMITMENT, (IMPLICIT,)))
UID, OBJECT = uid("study", 1, 1), data_set_bytes(make_instance())


class Taken:
    """A ``commit`` that writes down what it gets.

    Args:
        error: what it raises.
    """

    def __init__(self) -> None:
        self.requests: list[CommitmentRequest] = []
        self.error: Exception | None = None

    def __call__(self, request: CommitmentRequest) -> None:
        """Take a request."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error


def action(
    *, sop_class: str = COMMITMENT, instance: str = WELL_KNOWN, kind: int = 1, data_set: int = 1
) -> bytes:
    """Return an N-ACTION-RQ."""
    return command(
        element(0x0003, sop_class.encode()),
        us(0x0100, 0x0130),
        us(0x0110, 5),
        us(0x0800, data_set),
        element(0x1001, instance.encode()),
        us(0x1008, kind),
    )


def event_answer(message_id: int, status: int = 0, data_set: int = 0x0101) -> bytes:
    """Return an N-EVENT-REPORT-RSP."""
    return command(
        us(0x0100, 0x8100), us(0x0120, message_id), us(0x0800, data_set), us(0x0900, status)
    )


@pytest.fixture
def taken() -> Taken:
    """What takes requests."""
    return Taken()


@pytest.fixture
def receiving(start_receiving: StartReceiving, taken: Taken) -> Receiving:
    """A listener that offers storage commitment."""
    return start_receiving(commit=taken)


@pytest.fixture
def peer(receiving: Receiving) -> Iterator[RawPeer]:
    """A peer that has agreed on storage commitment."""
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT)
        yield peer


def ask(
    peer: RawPeer, request: bytes, data: bytes = b"any", context_id: int = COMMITMENT_ID
) -> int:
    """Send a request with a data set and return the status of the answer."""
    peer.send_command(request, context_id)
    peer.send_data(data, context_id)
    return status_of(peer.response())


def test_request_is_handed_over_as_it_came(peer: RawPeer, taken: Taken) -> None:
    """The data set goes on whole with its syntax and sender; the answer names the instance."""
    peer.send_command(action(), COMMITMENT_ID)
    peer.send_data(b"first ", COMMITMENT_ID, last=False)
    peer.send_data(b"second", COMMITMENT_ID)
    answer = peer.response()
    assert status_of(answer) == 0x0000
    assert int.from_bytes(answer[0x0100], "little") == 0x8130
    assert answer[0x1000].rstrip(b"\0").decode() == WELL_KNOWN
    ((request),) = taken.requests
    assert (request.action_information, request.transfer_syntax_uid) == (b"first second", IMPLICIT)
    assert request.origin.calling_ae_title == "PEER"


WRONG = {
    "another class": (action(sop_class="1.2.840.10008.5.1.1.16"), 0x0118),
    "another instance": (action(instance="1.2.3"), 0x0112),
    "another action": (action(kind=2), 0x0123),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_command_is_refused(case: str, peer: RawPeer, taken: Taken) -> None:
    """A command that asks for something else is answered by PS3.7 10.1.4.1.10."""
    request, status = WRONG[case]
    assert ask(peer, request) == status
    assert taken.requests == []
    assert ask(peer, action()) == 0x0000


def test_request_without_data_set_is_refused(peer: RawPeer) -> None:
    """A request that announces no Action Information is answered 0115."""
    peer.send_command(action(data_set=0x0101), COMMITMENT_ID)
    assert status_of(peer.response()) == 0x0115


def test_request_on_a_storage_context_is_refused(peer: RawPeer) -> None:
    """N-ACTION is no command of storage."""
    assert ask(peer, action(), context_id=CT_ID) == 0x0211


def test_storage_and_echo_on_a_commitment_context_are_refused(peer: RawPeer) -> None:
    """A context for commitment takes neither C-STORE nor C-ECHO."""
    store = store_command(UID, sop_class_uid=COMMITMENT)
    assert ask(peer, store, OBJECT) == 0x0122
    peer.send_command(echo_command(sop_class_uid=COMMITMENT), COMMITMENT_ID)
    assert status_of(peer.response()) == 0x0122


def test_endless_request_is_refused(peer: RawPeer, taken: Taken) -> None:
    """An Action Information above its limit is read to its end, dropped and answered 0213."""
    peer.send_command(action(), COMMITMENT_ID)
    piece = bytes(16_000)
    for _ in range(MAX_INFORMATION_BYTES // len(piece) + 2):
        peer.send_data(piece, COMMITMENT_ID, last=False)
    peer.send_data(b"", COMMITMENT_ID)
    assert status_of(peer.response()) == 0x0213
    assert taken.requests == []
    assert status_of(peer.store(OBJECT, UID)) == 0x0000


ERRORS: dict[str, tuple[Exception, int]] = {
    "unreadable": (InvalidDataSet("no"), 0x0115),
    "too much": (LimitPassed("no", "storage_commitment.max_instances"), 0x0213),
    "no database": (StoreUnavailable("no"), 0x0213),
    "a fault of ours": (KeyError("secret"), 0x0110),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error_has_its_status(case: str, peer: RawPeer, taken: Taken) -> None:
    """What goes wrong behind the wire is answered by the table; the association goes on."""
    taken.error, status = ERRORS[case]
    assert ask(peer, action()) == status
    assert status_of(peer.store(OBJECT, UID)) == 0x0000


def tell(receiving: Receiving, data: bytes = b"result", seconds: float = 5.0) -> int:
    """Tell the peer a result; return the status of its answer."""
    report = Report(2, lambda _: data)
    return receiving.requesters.report("PEER", "", report, seconds)


def read_report(peer: RawPeer) -> dict[int, bytes]:
    """Read a report with its data set; return the elements of its command."""
    kind, body = peer.read()
    assert kind == 4
    peer.read()
    return elements_of(body[6:])


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Something that waits while the test goes on."""
    with ThreadPoolExecutor() as pool:
        yield pool


def test_result_is_told_and_answered(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """A result goes out as N-EVENT-REPORT; the answer's status comes back."""
    told = beside.submit(tell, receiving)
    request = read_report(peer)
    assert int.from_bytes(request[0x0100], "little") == 0x0100
    assert int.from_bytes(request[0x1002], "little") == 2
    message_id = int.from_bytes(request[0x0110], "little")
    peer.send_command(event_answer(message_id, 0x0110), COMMITMENT_ID)
    assert told.result(10) == 0x0110


def test_result_waits_until_a_message_has_ended(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """Nothing is put in between a command and its data set."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT[:50], last=False)
    wait_until(lambda: receiving.spooled() != [])  # else it would be between two messages
    told = beside.submit(tell, receiving)
    threading.Event().wait(0.6)
    peer.send_data(OBJECT[50:])
    assert status_of(peer.response()) == 0x0000
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    peer.send_command(event_answer(message_id), COMMITMENT_ID)
    assert told.result(10) == 0


def test_message_between_report_and_answer_is_served(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """A peer may store before it answers a report."""
    told = beside.submit(tell, receiving)
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    assert status_of(peer.store(OBJECT, UID)) == 0x0000
    peer.send_command(event_answer(message_id), COMMITMENT_ID)
    assert told.result(10) == 0


def test_answer_with_a_data_set_is_passed_over(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """The data set that some peers put behind their answer disturbs nothing."""
    told = beside.submit(tell, receiving)
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    peer.send_command(event_answer(message_id, data_set=1), COMMITMENT_ID)
    peer.send_data(b"event reply", COMMITMENT_ID)
    assert told.result(10) == 0
    assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_answer_to_nothing_aborts(peer: RawPeer) -> None:
    """An N-EVENT-REPORT-RSP that nobody waits for is a violation."""
    peer.send_command(event_answer(1), COMMITMENT_ID)
    assert peer.is_ended()


def test_association_that_ends_fails_the_report(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """A peer that goes away without an answer has not taken the result."""
    told = beside.submit(tell, receiving)
    read_report(peer)
    peer.send(pdu(7, bytes(4)))
    with pytest.raises(NotReported, match="ended"):
        told.result(10)
    wait_until(lambda: not receiving.requesters.titles())


def test_silent_peer_fails_the_report(peer: RawPeer, receiving: Receiving) -> None:
    """A peer that gives no answer is not waited for; a late one is taken without harm."""
    with pytest.raises(NotReported, match="no answer"):
        tell(receiving, seconds=0.8)
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    peer.send_command(event_answer(message_id), COMMITMENT_ID)
    assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_nobody_there_fails_the_report(receiving: Receiving) -> None:
    """Without an association nothing can be told."""
    with pytest.raises(NotReported, match="no association"):
        tell(receiving)


def test_long_result_goes_out_in_pieces(receiving: Receiving, beside: ThreadPoolExecutor) -> None:
    """A result longer than the peer's PDUs is cut into pieces that it takes."""
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT, max_pdu_bytes=128)
        data = bytes(range(250)) * 4
        told = beside.submit(tell, receiving, data)
        got, message_id = b"", 0
        while True:
            _, body = peer.read()
            assert len(body) <= 128
            if body[5] & 1:
                message_id = message_id or 1
            else:
                got += body[6:]
                if body[5] & 2:
                    break
        assert got == data
        peer.send_command(event_answer(message_id), COMMITMENT_ID)
        assert told.result(10) == 0
