"""Peers that stall, lie or never end: closed in time, at no cost to others (real sockets)."""

from __future__ import annotations

import struct
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from intu_fhir.observe.metrics import RECEIVE_LIMITS
from tests.integration.receive.conftest import StartReceiving
from tests.support.clock import FakeClock
from tests.support.raw_peer import (
    ABORT,
    ASSOCIATE_RJ,
    COMMAND,
    CT_ID,
    LAST,
    P_DATA,
    VERIFICATION_ID,
    RawPeer,
    associate_request,
    command,
    echo_command,
    pdu,
    pdv,
    status_of,
    store_command,
    us,
)
from tests.support.receiving import QUICK, Receiving, limits
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())


@pytest.fixture
def quick(start_receiving: StartReceiving) -> Receiving:
    """A listener that ends soon who is slow."""
    return start_receiving(receiver=QUICK)


def assert_serves(receiving: Receiving) -> None:
    """An honest C-ECHO on a new association is answered."""
    with RawPeer(receiving.port) as honest:
        honest.associate()
        assert status_of(honest.echo()) == 0x0000


def assert_serves_in_a_second(receiving: Receiving) -> None:
    """So it is, and within a second: for tests that run alone."""
    begun = time.monotonic()
    assert_serves(receiving)
    assert time.monotonic() - begun < 1.0


def seconds_until_closed(peer: RawPeer) -> float:
    """Return how long it takes until the connection is at its end."""
    begun = time.monotonic()
    while peer.read()[0] != 0:
        pass
    return time.monotonic() - begun


HALF_A_HEADER = struct.pack(">BxI", P_DATA, 16_000)[:4]
STALLS = {
    "inside a PDU header": HALF_A_HEADER,
    "inside a PDU": struct.pack(">BxI", P_DATA, 16_000) + b"\0" * 20,
    "after a PDU header": struct.pack(">BxI", P_DATA, 16_000),
}


@pytest.mark.timed
@pytest.mark.parametrize("where", STALLS)
def test_stall_inside_a_pdu_is_closed_by_its_deadline(where: str, quick: Receiving) -> None:
    """N-02: a peer that stops inside a PDU is aborted after ``pdu_seconds``; others are served."""
    with RawPeer(quick.port) as peer:
        peer.associate()
        peer.send(STALLS[where])
        assert_serves_in_a_second(quick)
        assert seconds_until_closed(peer) < 2.0
    assert "timed_out" in quick.recorder.wait_for_ends(2)


@pytest.mark.timed
def test_stall_inside_the_association_request_is_closed(quick: Receiving) -> None:
    """N-02: a peer that sends half an A-ASSOCIATE-RQ is closed after ``handshake_seconds``."""
    with RawPeer(quick.port) as peer:
        peer.send(associate_request()[:40])
        assert_serves_in_a_second(quick)
        assert seconds_until_closed(peer) < 2.0


@pytest.mark.timed
def test_drip_of_single_bytes_is_closed(quick: Receiving) -> None:
    """N-02: one byte at a time does not put a deadline off."""
    with RawPeer(quick.port) as peer:
        begun = time.monotonic()
        stop = threading.Event()

        def drip() -> None:
            for byte in associate_request():
                try:
                    peer.send(bytes((byte,)))
                except OSError:
                    return
                if stop.wait(0.05):
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        assert peer.is_ended()
        assert time.monotonic() - begun < 2.5
        stop.set()
        thread.join()


@pytest.mark.timed
def test_silent_connections_do_not_keep_an_honest_peer_out(
    start_receiving: StartReceiving,
) -> None:
    """N-01: with more idle connections than may wait a new peer is served at once."""
    receiver = limits(max_associations=5, max_associations_per_address=5, handshake_seconds=60)
    receiving = start_receiving(receiver=receiver)
    with ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(receiving.port)) for _ in range(20)]
        assert_serves_in_a_second(receiving)
        assert receiving.slots.pending <= 16
        assert silent[0].is_ended()


def test_associations_of_one_address_are_limited(start_receiving: StartReceiving) -> None:
    """N-01: above its address's limit a peer is rejected for now; another address is served."""
    receiving = start_receiving(
        receiver=limits(max_associations=10, max_associations_per_address=2, idle_seconds=60)
    )
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(RawPeer(receiving.port)).associate()
        third = stack.enter_context(RawPeer(receiving.port))
        third.send(associate_request())
        assert third.read() == (ASSOCIATE_RJ, bytes((0, 2, 3, 2)))
        stack.enter_context(RawPeer(receiving.port, source="127.0.0.2")).associate()


@pytest.mark.parametrize("inside", [False, True])
def test_idle_associations_do_not_keep_an_honest_peer_out(
    inside: bool, start_receiving: StartReceiving, clock: FakeClock
) -> None:
    """N-01: where all places are taken, the one that rests longest gets A-ABORT, not the newcomer.

    So it is with one that stalls inside a message, whose PDUs are whole.
    """
    receiver = limits(max_associations=4, max_associations_per_address=2, idle_seconds=3_600)
    receiving = start_receiving(receiver=receiver, clock=clock)
    with ExitStack() as stack:
        crowd = []
        for number in range(4):
            peer = stack.enter_context(RawPeer(receiving.port, source=f"127.0.0.{2 + number % 2}"))
            peer.associate()
            if inside:
                peer.send_pdvs(pdv(CT_ID, COMMAND, b"half"))
            else:
                assert status_of(peer.echo()) == 0x0000
            clock.advance(1)
            crowd.append(peer)
        wait_until(lambda: receiving.resting() == 4)
        clock.advance(10)
        assert_serves(receiving)
        assert crowd[0].read() == (ABORT, bytes((0, 0, 2, 0)))
        receiving.recorder.wait_for_ends(2)
        if not inside:
            assert [status_of(peer.echo()) for peer in crowd[1:]] == [0x0000] * 3


def test_associations_in_all_are_limited_over_channels(start_receiving: StartReceiving) -> None:
    """N-01: two channels share one limit, and a slot that was given back is free again."""
    receiver = limits(max_associations=1, idle_seconds=60)
    first = start_receiving(receiver=receiver)
    second = start_receiving(receiver=receiver, slots=first.slots, channel_id="second")
    with RawPeer(first.port) as peer:
        peer.associate()
        with RawPeer(second.port) as rejected:
            rejected.send(associate_request())
            assert rejected.read()[0] == ASSOCIATE_RJ
        peer.release()
    first.recorder.wait_for_ends()
    first.listener.stop(grace_seconds=1)
    with RawPeer(second.port) as peer:
        peer.associate()


@pytest.mark.timed
def test_idle_association_is_closed(quick: Receiving) -> None:
    """N-02: an association on which nothing comes is aborted after ``idle_seconds``."""
    with RawPeer(quick.port) as peer:
        peer.associate()
        assert 1.5 < seconds_until_closed(peer) < 3.0
    assert quick.recorder.wait_for_ends() == ["timed_out"]


def test_lifetime_runs_on_the_monotonic_clock(
    start_receiving: StartReceiving, clock: FakeClock
) -> None:
    """N-09: a step of the wall clock ends nothing; the lifetime on the monotonic clock does."""
    receiving = start_receiving(clock=clock, receiver=limits(association_seconds=100.0))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        for step in (3_600, -7_200, 86_400):
            clock.step_wall(step)
            assert status_of(peer.echo()) == 0x0000
        for _ in range(60):
            clock.advance(1.5)
            assert status_of(peer.echo()) == 0x0000
        clock.advance(1.9)
        clock.advance(10)
        assert peer.is_ended()
    assert receiving.recorder.wait_for_ends() == ["timed_out"]


LIES = {
    "2^31-1": 2**31 - 1,
    "2^32-1": 2**32 - 1,
    "500 MB": 500_000_000,
    "one more than agreed": 16_385,
    "zero": 0,
    "five": 5,
}


@pytest.mark.parametrize("length", LIES)
def test_pdu_of_impossible_length_aborts_at_its_header(length: str, receiving: Receiving) -> None:
    """N-03: a P-DATA-TF that claims too much or too little is refused by its first six bytes."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send(struct.pack(">BxI", P_DATA, LIES[length]))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 6)))
        assert peer.is_ended()
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]


@pytest.mark.parametrize("length", [2**32 - 1, 2_000_000, 0])
def test_association_request_of_impossible_length_aborts(length: int, receiving: Receiving) -> None:
    """N-03: an A-ASSOCIATE-RQ above ``max_associate_bytes`` is refused before it is read."""
    with RawPeer(receiving.port) as peer:
        peer.send(struct.pack(">BxI", 1, length))
        assert peer.read()[0] == ABORT


@pytest.mark.parametrize("length", [0, 1, 2**32 - 1, 9])
def test_pdv_that_lies_about_its_length_aborts(length: int, receiving: Receiving) -> None:
    """N-03: a PDV that ends outside its PDU, or is shorter than its own header, is refused."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_pdvs(struct.pack(">IBB", length, CT_ID, COMMAND) + b"four")
        assert peer.is_ended()


def test_endless_command_set_aborts(receiving: Receiving) -> None:
    """N-04: a command set that does not end is cut at ``max_command_bytes``."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        for _ in range(5):
            peer.send_pdvs(pdv(CT_ID, COMMAND, bytes(8_000)))
        assert peer.is_ended()


def test_object_above_the_limit_is_refused_with_a_status(start_receiving: StartReceiving) -> None:
    """N-04: an object larger than ``max_object_bytes`` is answered A700; the next one is stored."""
    receiving = start_receiving(receiver=limits(max_object_bytes=len(OBJECT)))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        answer = peer.store(OBJECT + b"\0\0", UID)
        assert status_of(answer) == 0xA700
        assert b"larger" in answer[0x0902]
        assert receiving.spooled() == []
        assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_refused_data_set_is_read_no_farther_than_an_object_may_go(
    start_receiving: StartReceiving,
) -> None:
    """N-04: what is refused for its command is dropped; where an object has to end, so has this."""
    receiving = start_receiving(receiver=limits(max_object_bytes=100_000))
    counted = RECEIVE_LIMITS.labels("test", "max_object_bytes")
    before = counted._value.get()
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command("no UID"))
        for _ in range(6):
            peer.send_data(bytes(16_000), last=False)
        peer.send_data(b"")
        assert status_of(peer.response()) == 0x0117
        assert counted._value.get() == before
        peer.send_command(store_command("no UID"))
        for _ in range(7):
            peer.send_data(bytes(16_000), last=False)
        assert peer.is_ended()
    wait_until(lambda: counted._value.get() == before + 1)


CRUMBS = {
    "an empty fragment of a data set": (store_command(UID), (b"", b"")),
    "an empty fragment of a refused data set": (store_command("no UID"), (b"", b"")),
    "a thousand crumbs in one PDU": (store_command(UID), (b"1",) * 1_100),
    "crumbs in PDUs of their own": (store_command(UID), None),
}


@pytest.mark.parametrize("case", CRUMBS)
def test_data_set_in_crumbs_is_aborted(case: str, receiving: Receiving) -> None:
    """N-04: fragments that bring nothing, or crumbs by the thousand, end the association."""
    request, pieces = CRUMBS[case]
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(request)
        if pieces is None:
            peer.send(b"".join(pdu(P_DATA, pdv(CT_ID, 0, b"22")) for _ in range(1_100)))
        else:
            peer.send_pdvs(*(pdv(CT_ID, 0, piece) for piece in pieces))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 6)))
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]
    assert receiving.spooled() == []


def test_crumbs_of_many_messages_add_up(receiving: Receiving) -> None:
    """N-04: messages of 900 crumbs each end the association; messages of 60 each do not."""

    def store(crumbs: int) -> None:
        peer.send_command(store_command("no UID"))
        peer.send_pdvs(*[pdv(CT_ID, 0, b"1")] * (crumbs - 1), pdv(CT_ID, LAST, b"1"))

    with RawPeer(receiving.port) as peer:
        peer.associate()
        for _ in range(40):
            store(60)
            assert status_of(peer.response()) == 0x0117
        store(900)
        assert status_of(peer.response()) == 0x0117
        store(900)
        assert peer.is_ended()
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]


def test_many_fragments_of_a_program_are_taken(receiving: Receiving) -> None:
    """An object in thousands of short fragments, as a peer with short PDUs sends it, is taken."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        for _ in range(200):
            peer.send_pdvs(*(pdv(CT_ID, 0, bytes(500)) for _ in range(20)))
        peer.send_data(b"")
        assert status_of(peer.response()) == 0x0000


def test_object_without_end_counts_as_one(start_receiving: StartReceiving) -> None:
    """N-04: an object that is too large, and then has no end, has passed one limit once."""
    receiving = start_receiving(receiver=limits(max_object_bytes=100_000))
    counted = RECEIVE_LIMITS.labels("test", "max_object_bytes")
    before = counted._value.get()
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        for _ in range(13):
            peer.send_data(bytes(16_000), last=False)
        assert peer.is_ended()
    receiving.recorder.wait_for_ends()
    assert counted._value.get() == before + 1


def test_endless_data_set_aborts(start_receiving: StartReceiving) -> None:
    """N-04: a data set that goes on after twice the limit ends the association, nothing is left."""
    receiving = start_receiving(receiver=limits(max_object_bytes=100_000))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        try:
            for _ in range(100):
                peer.send_data(bytes(16_000), last=False)
        except OSError:
            pass
        assert peer.is_ended()
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]
    assert receiving.spooled() == []


@pytest.mark.timed
def test_peer_that_takes_no_answers_is_closed(start_receiving: StartReceiving) -> None:
    """N-02: a peer that sends and never reads is closed when its window has been shut too long."""
    receiving = start_receiving(receiver=QUICK)
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.socket.settimeout(1.0)
        one = store_command(UID, data_set_type=0x0101)
        try:
            while True:
                peer.send_pdvs(*[pdv(CT_ID, COMMAND | 2, one)] * 50)
        except OSError:
            pass
        assert_serves_in_a_second(receiving)
        assert "timed_out" in receiving.recorder.wait_for_ends(2)


def test_peers_that_take_no_answers_do_not_keep_an_honest_peer_out(
    start_receiving: StartReceiving,
) -> None:
    """N-01: one that sends and never reads gives its place to a newcomer, and ends at once."""
    receiver = limits(max_associations=2, max_associations_per_address=1, pdu_seconds=60)
    receiving = start_receiving(receiver=receiver)
    with ExitStack() as stack:
        for source in ("127.0.0.2", "127.0.0.3"):
            peer = stack.enter_context(RawPeer(receiving.port, source=source))
            peer.associate()
            peer.socket.settimeout(1.0)
            with suppress(OSError):
                while True:
                    peer.send_pdvs(*[pdv(VERIFICATION_ID, COMMAND | LAST, echo_command())] * 100)
        wait_until(lambda: receiving.resting() == 2)
        assert_serves(receiving)
        assert receiving.recorder.wait_for_ends(2).count("aborted_by_us") == 1


def test_peer_that_only_cancels_is_aborted(receiving: Receiving) -> None:
    """N-04: C-CANCELs have no answer that would slow their sender down; some are passed over."""
    cancel = command(us(0x0100, 0x0FFF), us(0x0120, 1), us(0x0800, 0x0101))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        for _ in range(3):
            peer.send_pdvs(*[pdv(VERIFICATION_ID, COMMAND | LAST, cancel)] * 16)
            assert status_of(peer.echo()) == 0x0000
        peer.send_pdvs(*[pdv(VERIFICATION_ID, COMMAND | LAST, cancel)] * 17)
        assert peer.is_ended()
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]


def test_tls_hello_on_a_plain_port_is_aborted(receiving: Receiving) -> None:
    """N-05: a ClientHello to a port without TLS is answered A-ABORT and closed."""
    with RawPeer(receiving.port) as peer:
        peer.send(bytes.fromhex("1603010200010001fc0303"))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 1)))
