"""A peer that does nothing wrong, and notes how long it has to wait."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.raw_peer import (
    ASSOCIATE_AC,
    P_DATA,
    VERIFICATION_ID,
    associate_request,
    echo_command,
    pdu,
    pdv,
)

_TIMEOUT_SECONDS = 5.0
_EVERY_SECONDS = 0.05
_START_SECONDS = 30.0


@dataclass
class Honest:
    """Opens an association for each C-ECHO, over TLS where a context for it is given.

    Args:
        called: the AE title that it calls.
        slowest: seconds from connecting to the answer.
    """

    port: int
    tls: ssl.SSLContext | None = None
    called: str = "INTU_SCP"
    answered: int = 0
    failed: int = 0
    slowest: float = 0.0

    def echo_for(self, seconds: float, sample: Callable[[], float]) -> float:
        """Echo twenty times a second; return the highest of what was sampled after each."""
        end, most = time.monotonic() + seconds, sample()
        while time.monotonic() < end:
            begun = time.monotonic()
            if self.echo():
                self.answered += 1
                self.slowest = max(self.slowest, time.monotonic() - begun)
            else:
                self.failed += 1
            most = max(most, sample())
            time.sleep(max(0.0, begun + _EVERY_SECONDS - time.monotonic()))
        return most

    def wait_for_first(self) -> None:
        """Return when a C-ECHO is answered.

        Raises:
            TimeoutError: none is.
        """
        end = time.monotonic() + _START_SECONDS
        while not self.echo():
            if time.monotonic() > end:
                raise TimeoutError("nobody answers a C-ECHO")
            time.sleep(0.05)

    def echo(self) -> bool:
        """Connect, associate, echo and go; False where it was not answered."""
        address = ("127.0.0.1", self.port)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            peer = stack.enter_context(socket.create_connection(address, _TIMEOUT_SECONDS))
            if self.tls is not None:
                peer = stack.enter_context(self.tls.wrap_socket(peer, server_hostname="localhost"))
            peer.sendall(associate_request(called=self.called))
            if peer.recv(65_536)[:1] != bytes((ASSOCIATE_AC,)):
                return False
            peer.sendall(pdu(P_DATA, pdv(VERIFICATION_ID, 3, echo_command())))
            return peer.recv(65_536)[:1] == bytes((P_DATA,))
        return False
