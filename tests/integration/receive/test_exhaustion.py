"""A system that gives no more descriptors, threads or memory: others are served, and it is told."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from intu_fhir.errors import ConfigurationError
from intu_fhir.observe.metrics import RECEIVE_CONNECTIONS
from intu_fhir.receive import descriptors, listener
from intu_fhir.receive.descriptors import descriptors_wanted, raise_descriptors
from intu_fhir.receive.ending import ACCEPT_FAILED, NO_THREAD
from intu_fhir.settings.schema import Receiver
from tests.integration.receive.conftest import StartReceiving
from tests.support.clock import FakeClock
from tests.support.raw_peer import RawPeer, status_of
from tests.support.receiving import Receiving, limits
from tests.support.waiting import wait_until


def counted(outcome: str) -> float:
    """Return how many connections ended so."""
    return float(RECEIVE_CONNECTIONS.labels("test", outcome)._value.get())


def serves(receiving: Receiving) -> bool:
    """Say whether a C-ECHO on a new association is answered."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        return status_of(peer.echo()) == 0x0000


class Exhausted(socket.socket):
    """A listening socket whose system has no descriptor left, for a while."""

    left = 0

    def accept(self) -> tuple[socket.socket, object]:
        """Fail as often as ``left`` says."""
        if Exhausted.left:
            Exhausted.left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Exhausted]]:
    """Have listeners on sockets that fail when told to."""

    def create(*args: object, **options: object) -> socket.socket:
        made = made_before(*args, **options)  # type: ignore[arg-type]
        return Exhausted(fileno=made.detach())

    made_before = socket.create_server
    monkeypatch.setattr(listener.socket, "create_server", create)
    yield Exhausted
    Exhausted.left = 0


def test_without_descriptors_the_oldest_silent_connection_goes(
    start_receiving: StartReceiving, exhausted: type[Exhausted], clock: FakeClock
) -> None:
    """It makes room for the one that waits; that is counted each time and told once a minute."""
    receiving = start_receiving(receiver=limits(handshake_seconds=60), clock=clock)
    before = counted(ACCEPT_FAILED)
    with capture_logs() as logs, ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(receiving.port)) for _ in range(4)]
        wait_until(lambda: receiving.slots.pending == 4)
        exhausted.left = 3
        assert serves(receiving)  # by the accept that waited already
        wait_until(lambda: counted(ACCEPT_FAILED) == before + 3)
        assert serves(receiving)
        assert [peer.read() for peer in silent[:2]] == [(0, b"")] * 2
        wait_until(lambda: receiving.slots.pending <= 1)
        assert sum(line["event"] == "accept_failed" for line in logs) == 1
        clock.advance(60)
        exhausted.left = 1
        assert serves(receiving)
        wait_until(lambda: sum(line["event"] == "accept_failed" for line in logs) == 2)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, OSError])
def test_connection_that_cannot_be_served_ends_alone(
    error: type[Exception], start_receiving: StartReceiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory or a thread for it, a connection is closed and counted; the next is served."""
    receiving = start_receiving()
    before = counted(NO_THREAD)

    class Failing(listener.Connection):
        def __init__(self, *args: object) -> None:
            monkeypatch.undo()
            raise error

    monkeypatch.setattr(listener, "Connection", Failing)
    with RawPeer(receiving.port) as peer:
        assert peer.read() == (0, b"")
    assert serves(receiving)
    assert receiving.listener.is_listening
    assert counted(NO_THREAD) == before + 1
    receiving.listener.stop(grace_seconds=0)
    assert not receiving.listener.is_listening


class System:
    """A system that gives so many descriptors."""

    def __init__(self, soft: int, hard: int) -> None:
        self.limits = soft, hard

    def getrlimit(self, _: int) -> tuple[int, int]:
        """Return what it gives."""
        return self.limits

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        """Take what is wanted."""
        self.limits = limits


def on(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on that system."""
    monkeypatch.setattr(descriptors.resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(descriptors.resource, "setrlimit", system.setrlimit)


@pytest.mark.parametrize(
    ("most", "soft", "hard", "then"),
    [(100, 1_024, 4_096, 1_024), (500, 1_024, 4_096, 2_256), (500, 1_024, -1, 2_256)],
)
def test_descriptors_are_raised_to_what_is_needed(
    most: int, soft: int, hard: int, then: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The soft limit is raised as far as the associations need, and never lowered."""
    system = System(soft, resource.RLIM_INFINITY if hard < 0 else hard)
    on(system, monkeypatch)
    raise_descriptors(Receiver(max_associations=most))
    assert system.limits[0] == then >= descriptors_wanted(Receiver(max_associations=most))


def test_more_associations_than_descriptors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that the system cannot keep says so at the start, with what would do."""
    on(System(1_024, 4_096), monkeypatch)
    with pytest.raises(ConfigurationError, match="or take 960 or fewer") as caught:
        raise_descriptors(Receiver(max_associations=1_100))
    assert caught.value.key == "receiver.max_associations"
    raise_descriptors(Receiver(max_associations=960))
