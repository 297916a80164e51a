"""Sending over a real socket to a peer that takes what it likes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from intu_fhir.receive.transport import Transport

LONG = bytes(600_000)


def test_interruption_while_tls_begins_is_not_lost() -> None:
    """Who is evicted while its socket changes hands ends at once, without a handshake."""
    ours, theirs = socket.socketpair()

    class Context:
        def wrap_socket(self, plain: socket.socket, **_: object) -> socket.socket:
            moved = socket.socket(fileno=plain.detach())
            transport.interrupt()  # neither the old socket nor the new one is to be had now
            return moved

    transport = Transport(ours, tick_seconds=0.1)
    with theirs, pytest.raises(ConnectionAbortedError):
        transport.start_tls(Context(), seconds=5.0)  # type: ignore[arg-type]
    transport.close()


@pytest.fixture
def to_a_slow_peer() -> Iterator[Transport]:
    """A transport whose peer takes some kilobytes, again and again."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.connect(server.getsockname())
        ours, _ = server.accept()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

        def take() -> None:
            with contextlib.suppress(OSError):
                while not over.wait(0.1):
                    peer.recv(8_192)

        thread = threading.Thread(target=take)
        thread.start()
        transport = Transport(ours, 0.25)
        yield transport
        over.set()
        transport.close()
        thread.join()


def test_slow_peer_has_its_time_in_sum(to_a_slow_peer: Transport) -> None:
    """A peer that takes a little all the time does not put the deadline off."""
    with pytest.raises(TimeoutError):
        to_a_slow_peer.send(LONG, 1.0)


def test_nobody_waits_for_a_slow_peer_when_all_is_cut(to_a_slow_peer: Transport) -> None:
    """At the end of the grace what a peer does not take at once is given up."""
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        to_a_slow_peer.send(LONG, 60.0, lambda: time.monotonic() > begun + 0.5)
