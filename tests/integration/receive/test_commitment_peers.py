"""Storage commitment on the wire: what is refused, and how results are told between messages."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from intu_fhir.errors import InvalidDataSet, LimitPassed, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.store import Spool
from intu_fhir.model.commitment import CommitmentRequest, Requester
from intu_fhir.observe.metrics import RECEIVE_LIMITS
from intu_fhir.receive.reporting import NotReported, Report
from intu_fhir.receive.space import STEP_BYTES
from intu_fhir.settings.schema import StorageCommitment
from intu_fhir.stage.handover import HandOver
from tests.integration.receive.conftest import StartReceiving
from tests.integration.receive.test_negotiation_peers import results
from tests.support.asking import (
    COMMITMENT,
    COMMITMENT_ID,
    WELL_KNOWN,
    WITH_COMMITMENT,
    action,
)
from tests.support.clock import FakeClock
from tests.support.raw_peer import (
    CT_ID,
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    command,
    echo_command,
    elements_of,
    pdu,
    status_of,
    store_command,
    us,
)
from tests.support.receiving import Receiving, limits
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

JPEG = "1.2.840.10008.1.2.4.50"
UID, OBJECT = uid("study", 1, 1), data_set_bytes(make_instance())


class Taken:
    """A ``commit`` that writes down what it gets.

    Args:
        error: what it raises.
    """

    def __init__(self) -> None:
        self.requests: list[CommitmentRequest] = []
        self.read: list[bytes] = []
        self.error: Exception | None = None

    def __call__(self, request: CommitmentRequest) -> None:
        """Take a request."""
        self.requests.append(request)
        self.read.append(request.read())
        if self.error is not None:
            raise self.error


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
    assert (taken.read, request.transfer_syntax_uid) == ([b"first second"], IMPLICIT)
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


@pytest.mark.parametrize("data_bytes", [100, 300_000])
def test_nothing_stays_in_the_spool(
    data_bytes: int, peer: RawPeer, receiving: Receiving, taken: Taken
) -> None:
    """An Action Information comes whole, however long, and leaves no file behind."""
    peer.send_command(action(), COMMITMENT_ID)
    data = os.urandom(data_bytes)
    for begin in range(0, data_bytes, 10_000):
        peer.send_data(data[begin : begin + 10_000], COMMITMENT_ID, last=False)
    peer.send_data(b"", COMMITMENT_ID)
    assert status_of(peer.response()) == 0x0000
    assert taken.read == [data]
    peer.send_command(action(), COMMITMENT_ID)
    peer.send_data(bytes(100), COMMITMENT_ID, last=False)
    peer.send(pdu(7, bytes(4)))
    wait_until(lambda: receiving.spooled() == [])


def test_request_that_cannot_be_read_back_is_for_later(start_receiving: StartReceiving) -> None:
    """Where the spool loses a long one before it is read, it is answered 0213."""
    receiving: Receiving

    def lose(request: CommitmentRequest) -> None:
        for spooled in receiving.spooled():
            spooled.unlink()
        request.read()

    receiving = start_receiving(commit=lose)
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT)
        peer.send_command(action(), COMMITMENT_ID)
        for _ in range(30):
            peer.send_data(bytes(10_000), COMMITMENT_ID, last=False)
        peer.send_data(b"", COMMITMENT_ID)
        assert status_of(peer.response()) == 0x0213
        assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_endless_request_is_refused_and_counted(
    start_receiving: StartReceiving, taken: Taken
) -> None:
    """One that is too long for its instances is read to its end, dropped and answered 0213."""
    few = StorageCommitment(max_instances=10)
    receiving = start_receiving(commit=taken, receiver=limits(storage_commitment=few))
    limit = RECEIVE_LIMITS.labels("test", "storage_commitment.max_instances")
    before = limit._value.get()
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT)
        peer.send_command(action(), COMMITMENT_ID)
        for _ in range(10):
            peer.send_data(bytes(16_000), COMMITMENT_ID, last=False)
        peer.send_data(b"", COMMITMENT_ID)
        assert status_of(peer.response()) == 0x0213
        assert taken.requests == []
        assert receiving.spooled() == []
        assert limit._value.get() == before + 1
        assert status_of(peer.store(OBJECT, UID)) == 0x0000


class WatchedDisk(LocalFileStore):
    """A store that counts what is spooled, on a disk as full as a test says."""

    free, spooled = 1 << 40, 0

    def free_bytes(self) -> int:
        """Return what the test says."""
        return self.free

    def open_spool(self, head: bytes) -> Spool:
        """Count it."""
        self.spooled += 1
        return super().open_spool(head)


FLOOR = 5_000_000


@pytest.fixture
def disk(tmp_path: Path) -> WatchedDisk:
    """A disk with room."""
    return WatchedDisk(tmp_path / "disk")


@pytest.fixture
def above_floor(
    start_receiving: StartReceiving, taken: Taken, disk: WatchedDisk, clock: FakeClock
) -> Receiving:
    """A listener that leaves ``FLOOR`` free on that disk."""
    settings = limits(min_free_bytes=FLOOR, idle_seconds=100)
    return start_receiving(commit=taken, files=disk, clock=clock, receiver=settings)


@pytest.fixture
def asker(above_floor: Receiving) -> Iterator[RawPeer]:
    """A peer of that listener."""
    with RawPeer(above_floor.port) as peer:
        peer.associate(WITH_COMMITMENT)
        yield peer


def test_request_where_the_disk_is_low(
    asker: RawPeer, taken: Taken, disk: WatchedDisk, clock: FakeClock
) -> None:
    """Below ``min_free_bytes`` it is answered 0213 before anything is written; then it is taken."""
    limit = RECEIVE_LIMITS.labels("test", "min_free_bytes")
    before = limit._value.get()
    disk.free = FLOOR
    assert ask(asker, action()) == 0x0213
    assert (taken.requests, disk.spooled, limit._value.get()) == ([], 0, before + 1)
    disk.free = 2 * FLOOR
    clock.advance(1.1)
    assert ask(asker, action()) == 0x0000


def test_request_during_which_the_disk_runs_low(
    asker: RawPeer, taken: Taken, disk: WatchedDisk, clock: FakeClock
) -> None:
    """A long one has space promised for each megabyte, and leaves nothing behind without it."""
    asker.send_command(action(), COMMITMENT_ID)
    asker.send_data(bytes(16_000), COMMITMENT_ID, last=False)
    wait_until(lambda: disk.spooled == 1)
    disk.free = FLOOR
    clock.advance(1.1)
    for _ in range(100):
        asker.send_data(bytes(16_000), COMMITMENT_ID, last=False)
    asker.send_data(b"", COMMITMENT_ID)
    assert status_of(asker.response()) == 0x0213
    assert (taken.requests, list(disk.spooled_names())) == ([], [])


def test_space_of_requests_comes_back(
    above_floor: Receiving, taken: Taken, disk: WatchedDisk, clock: FakeClock
) -> None:
    """Requesters that were answered, and stay, keep nothing of the space promised to them."""
    disk.free = FLOOR + 3 * STEP_BYTES
    with ExitStack() as stack:
        for number in range(8):
            asker = stack.enter_context(RawPeer(above_floor.port))
            asker.associate(WITH_COMMITMENT)
            taken.error = InvalidDataSet("no") if number % 2 else None
            clock.advance(1.1)
            assert ask(asker, action()) == (0x0115 if number % 2 else 0x0000)


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


WHO = Requester("test", "INTU_SCP", "PEER")


def send(
    receiving: Receiving, data: bytes = b"result", association: str = "", who: Requester = WHO
) -> Future[int]:
    """Have the peer told a result; return the status to come."""
    report = Report(2, lambda _: data)
    assert receiving.requesters.post(who, association, report)
    return report.status


def tell(receiving: Receiving, data: bytes = b"result", seconds: float = 60.0) -> int:
    """Tell the peer a result; return the status of its answer."""
    return send(receiving, data).result(seconds)


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
    assert told.result(60) == 0x0110


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
    assert told.result(60) == 0


def test_message_between_report_and_answer_is_served(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """A peer may store before it answers a report."""
    told = beside.submit(tell, receiving)
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    assert status_of(peer.store(OBJECT, UID)) == 0x0000
    peer.send_command(event_answer(message_id), COMMITMENT_ID)
    assert told.result(60) == 0


def test_answer_with_a_data_set_is_passed_over(
    peer: RawPeer, receiving: Receiving, beside: ThreadPoolExecutor
) -> None:
    """The data set that some peers put behind their answer disturbs nothing."""
    told = beside.submit(tell, receiving)
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    peer.send_command(event_answer(message_id, data_set=1), COMMITMENT_ID)
    peer.send_data(b"event reply", COMMITMENT_ID)
    assert told.result(60) == 0
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
        told.result(60)
    wait_until(lambda: not receiving.requesters.free())


def test_one_report_at_a_time(peer: RawPeer, receiving: Receiving) -> None:
    """Until the first is answered no other is sent, whoever waits for it (window 1)."""
    first = send(receiving)
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    assert not receiving.requesters.free()
    assert not receiving.requesters.post(WHO, "", Report(2, lambda _: b"second"))
    peer.socket.settimeout(1.0)
    with pytest.raises(TimeoutError):
        peer.read()
    peer.socket.settimeout(10)
    peer.send_command(event_answer(message_id), COMMITMENT_ID)
    assert first.result(60) == 0
    second = send(receiving)
    answered = int.from_bytes(read_report(peer)[0x0110], "little")
    assert answered != message_id
    peer.send_command(event_answer(answered), COMMITMENT_ID)
    assert second.result(60) == 0


def test_report_that_nobody_waits_for_is_not_sent(peer: RawPeer, receiving: Receiving) -> None:
    """One that is taken back while the peer sends makes room for another."""
    peer.send_command(store_command(UID))
    peer.send_data(OBJECT[:50], last=False)
    wait_until(lambda: receiving.spooled() != [])
    assert send(receiving, b"first").cancel()
    second = send(receiving, b"second")
    peer.send_data(OBJECT[50:])
    assert status_of(peer.response()) == 0x0000
    message_id = int.from_bytes(read_report(peer)[0x0110], "little")
    peer.send_command(event_answer(message_id), COMMITMENT_ID)
    assert second.result(60) == 0


def test_result_goes_to_its_own_requester_only(peer: RawPeer, receiving: Receiving) -> None:
    """The same AE title on another channel, or of another AE title of ours, is somebody else."""
    for other in (WHO._replace(channel="secure"), WHO._replace(called_ae_title="OTHER")):
        assert not receiving.requesters.post(other, "", Report(2, lambda _: b""))


def test_association_that_asked_is_told(receiving: Receiving, taken: Taken) -> None:
    """The result goes to the association that asked, though a newer one is there."""
    with RawPeer(receiving.port) as asking, RawPeer(receiving.port) as newer:
        asking.associate(WITH_COMMITMENT)
        newer.associate(WITH_COMMITMENT)
        assert ask(asking, action()) == 0x0000
        status = send(receiving, association=taken.requests[0].origin.association_id)
        message_id = int.from_bytes(read_report(asking)[0x0110], "little")
        asking.send_command(event_answer(message_id), COMMITMENT_ID)
        assert status.result(60) == 0
        status = send(receiving, association="another one that has ended")
        read_report(newer)


def test_result_comes_on_the_context_that_asked(receiving: Receiving) -> None:
    """Of two contexts for commitment the result comes on the one that was asked on."""
    two = (*WITH_COMMITMENT, (11, COMMITMENT, (EXPLICIT,)))
    with RawPeer(receiving.port) as peer:
        peer.associate(two)
        assert ask(peer, action(), context_id=11) == 0x0000
        syntaxes: list[str] = []
        report = Report(2, lambda syntax: syntaxes.append(syntax) or b"result")
        assert receiving.requesters.post(WHO, "", report)
        _, body = peer.read()
        assert body[4] == 11
        assert syntaxes == [EXPLICIT]


def test_compressed_syntax_is_not_for_commitment(receiving: Receiving) -> None:
    """A context for commitment in a compressed syntax alone is refused, one with more is not."""
    contexts = ((1, COMMITMENT, (JPEG,)), (3, COMMITMENT, (JPEG, EXPLICIT)))
    with RawPeer(receiving.port) as peer:
        assert results(peer.associate(contexts)) == [4, 0]


def test_idle_association_waits_for_its_result(start_receiving: StartReceiving) -> None:
    """A peer that has asked may be silent until its result came, and not for longer."""
    receiving = start_receiving(
        commit=lambda _: None,
        receiver=limits(idle_seconds=2, storage_commitment=StorageCommitment(wait_seconds=60)),
    )
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT)
        assert ask(peer, action()) == 0x0000
        threading.Event().wait(5.0)
        status = send(receiving)
        message_id = int.from_bytes(read_report(peer)[0x0110], "little")
        peer.send_command(event_answer(message_id), COMMITMENT_ID)
        assert status.result(60) == 0
        assert peer.is_ended()
        assert receiving.recorder.wait_for_ends() == ["timed_out"]


def test_wait_for_a_result_has_an_end(start_receiving: StartReceiving) -> None:
    """A peer whose result does not come within ``wait_seconds`` is as idle as any other."""
    receiving = start_receiving(
        commit=lambda _: None,
        receiver=limits(idle_seconds=2, storage_commitment=StorageCommitment(wait_seconds=1)),
    )
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT)
        assert ask(peer, action()) == 0x0000
        assert peer.is_ended()


def test_long_result_goes_out_in_pieces(receiving: Receiving, beside: ThreadPoolExecutor) -> None:
    """A result longer than the peer's PDUs is cut into pieces that it takes."""
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT, max_pdu_bytes=129)
        data = bytes(range(250)) * 4
        told = beside.submit(tell, receiving, data)
        got, message_id = b"", 0
        while True:
            _, body = peer.read()
            assert len(body) <= 129
            assert len(body) % 2 == 0
            if body[5] & 1:
                message_id = message_id or 1
            else:
                got += body[6:]
                if body[5] & 2:
                    break
        assert got == data
        peer.send_command(event_answer(message_id), COMMITMENT_ID)
        assert told.result(60) == 0


def test_open_requests_take_no_memory(start_receiving: StartReceiving) -> None:
    """Twenty peers that each send two megabytes of a request without end take nearly none."""
    receiving = start_receiving(
        commit=lambda _: None, receiver=limits(idle_seconds=60, pdu_seconds=60)
    )
    piece = bytes(16_000)
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(receiving.port)) for _ in range(20)]
        for peer in peers:
            peer.associate(WITH_COMMITMENT)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for peer in peers:
            peer.send_command(action(), COMMITMENT_ID)
            for _ in range(2_000_000 // len(piece)):
                peer.send_data(piece, COMMITMENT_ID, last=False)
        wait_until(lambda: sum(path.stat().st_size for path in receiving.spooled()) > 35_000_000)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert after - before < 15_000_000


def test_database_that_hangs_is_waited_for_in_vain_for_a_while(
    start_receiving: StartReceiving,
) -> None:
    """Requests are answered 0213 in time, and who hung up has no association any more."""
    go_on = threading.Event()
    over = HandOver(lambda _: bool(go_on.wait(60)), "test", wait_seconds=1.0)
    over.start()
    receiving = start_receiving(commit=over, receiver=limits(max_associations=4))
    for _ in range(4):
        with RawPeer(receiving.port) as peer:
            peer.associate(WITH_COMMITMENT)
            peer.send_command(action(), COMMITMENT_ID)
            peer.send_data(b"any", COMMITMENT_ID)
    receiving.recorder.wait_for_ends(4)
    with RawPeer(receiving.port) as peer:
        peer.associate(WITH_COMMITMENT)
        assert ask(peer, action()) == 0x0213
        assert status_of(peer.store(OBJECT, UID)) == 0x0000
    go_on.set()
    over.stop()


def test_room_that_is_used_up_is_counted(peer: RawPeer, taken: Taken) -> None:
    """What waits already refuses a request by its own limit, which the metric names."""
    limit = RECEIVE_LIMITS.labels("test", "storage_commitment.max_waiting_of_one")
    before = limit._value.get()
    taken.error = LimitPassed("too much waits", "storage_commitment.max_waiting_of_one")
    assert ask(peer, action()) == 0x0213
    assert limit._value.get() == before + 1
