"""Starting and stopping listeners: nothing is cut that can be finished, and it is told."""

from __future__ import annotations

import threading

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.model.instance import Accepted, Disposition, ReceivedObject
from intu_fhir.receive.ports import StopReport
from tests.integration.receive.conftest import StartReceiving
from tests.support.raw_peer import (
    ABORT,
    ASSOCIATE_RJ,
    RawPeer,
    associate_request,
    status_of,
    store_command,
)
from tests.support.receiving import Receiving, Recorder, limits
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())


class Stopping:
    """A ``stop`` that runs beside the test."""

    def __init__(self, receiving: Receiving, grace_seconds: float) -> None:
        self._receiving = receiving
        self._report: StopReport | None = None
        self._thread = threading.Thread(target=self._stop, args=(grace_seconds,))
        self._thread.start()
        assert receiving.listener.stopping.wait(10)

    def _stop(self, grace_seconds: float) -> None:
        self._report = self._receiving.listener.stop(grace_seconds)

    def report(self) -> StopReport:
        """Wait for the end and return the report."""
        self._thread.join(20)
        assert self._report is not None
        return self._report


def test_idle_association_is_aborted_at_once(receiving: Receiving) -> None:
    """N-10: an association between two messages is aborted when its listener stops."""
    with RawPeer(receiving.port) as peer, RawPeer(receiving.port):
        peer.associate()
        report = Stopping(receiving, grace_seconds=30).report()
        assert peer.read()[0] == ABORT
    assert report == StopReport("test", idle=1)
    assert receiving.recorder.wait_for_ends() == ["stopped"]


CONGESTED = (ASSOCIATE_RJ, bytes((0, 2, 3, 1)))


def test_peer_without_association_is_rejected_for_now(receiving: Receiving) -> None:
    """N-10: who has connected when a listener stops may try again (PS3.8 table 9-21: 2, 3, 1)."""
    with RawPeer(receiving.port) as silent, RawPeer(receiving.port) as half:
        half.send(associate_request()[:100])
        wait_until(lambda: receiving.slots.pending == 2)
        stopping = Stopping(receiving, grace_seconds=30)
        assert [peer.read() for peer in (silent, half)] == [CONGESTED] * 2
        assert stopping.report() == StopReport("test")


def test_request_while_stopping_is_rejected_for_now(receiving: Receiving) -> None:
    """N-10: a request that comes between the stop and the next look at it begins nothing."""
    with RawPeer(receiving.port) as peer:
        wait_until(lambda: receiving.slots.pending == 1)
        receiving.listener.stopping.set()
        peer.send(associate_request())
        assert peer.read() == CONGESTED
    assert receiving.recorder.ends == []


def test_object_in_hand_is_finished_and_answered(start_receiving: StartReceiving) -> None:
    """N-10: an object that has begun is taken and answered, then the association ends."""
    receiving = start_receiving(receiver=limits(idle_seconds=60))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        peer.send_data(OBJECT[:50], last=False)
        wait_until(lambda: receiving.spooled() != [])
        stopping = Stopping(receiving, grace_seconds=30)
        peer.send_data(OBJECT[50:])
        assert status_of(peer.response()) == 0x0000
        assert peer.read()[0] == ABORT
        assert stopping.report() == StopReport("test", finished=1)
    assert receiving.recorder.ends[0][1:] == ("stopped", {Disposition.STORED: 1})


def test_object_is_cut_when_the_grace_is_over(start_receiving: StartReceiving) -> None:
    """N-10: a peer that does not go on with its object is cut after the grace; nothing is left."""
    receiving = start_receiving(receiver=limits(idle_seconds=60))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        peer.send_data(OBJECT[:50], last=False)
        wait_until(lambda: receiving.spooled() != [])
        assert Stopping(receiving, grace_seconds=0.2).report() == StopReport("test", cut=1)
        assert peer.is_ended()
    assert receiving.spooled() == []


def test_object_that_is_still_being_stored_is_named(start_receiving: StartReceiving) -> None:
    """An object whose storing outlasts the grace is reported as stuck, by association."""
    go_on = threading.Event()

    def decide(received: ReceivedObject, data: bytes) -> Accepted:
        go_on.wait(20)
        return Accepted(Disposition.STORED, received.sop_instance_uid)

    receiving = start_receiving(recorder=Recorder(decide))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        peer.send_data(OBJECT)
        receiving.recorder.wait_for_objects()
        report = receiving.listener.stop(grace_seconds=0)
        go_on.set()
        assert status_of(peer.response()) == 0x0000
        assert receiving.recorder.wait_for_ends() == ["stopped"]
        assert report.stuck == (receiving.recorder.ends[0][0].association_id,)


def test_stopped_listener_takes_no_connection(receiving: Receiving) -> None:
    """After a stop the port is free, and stopping again changes nothing."""
    receiving.listener.stop(grace_seconds=0)
    with pytest.raises(ConnectionRefusedError):
        RawPeer(receiving.port)
    assert receiving.listener.stop(grace_seconds=0) == StopReport("test")


def test_taken_port_is_a_configuration_error(
    receiving: Receiving, start_receiving: StartReceiving
) -> None:
    """A port that is in use is named once, with its channel and the remedy."""
    words = (
        rf"channel test cannot listen on 127\.0\.0\.1 port {receiving.port} "
        r"\(Address already in use\); free the port or choose another$"
    )
    with pytest.raises(ConfigurationError, match=words):
        start_receiving(port=receiving.port)
