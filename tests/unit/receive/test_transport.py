"""A connected socket: what another thread does to it is not lost."""

from __future__ import annotations

import socket

import pytest

from intu_fhir.receive.transport import Transport


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
