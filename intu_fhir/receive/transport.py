"""A connected socket whose every wait ends: reads by a tick, sends and farewells by a deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 16 << 20
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class PeerLost(OSError):
    """The connection is gone: an error of the socket, which is told from one of a disk."""


class Transport:
    """One accepted connection.

    Args:
        tick_seconds: how long a read waits at most before its caller may look at the clock.
    """

    def __init__(self, connection: socket.socket, tick_seconds: float) -> None:
        self._socket = connection
        self._tick_seconds = tick_seconds
        self._interrupted = False
        _wait_in_the_kernel(connection, tick_seconds)
        with contextlib.suppress(OSError):  # gone already: the first read will say so
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start_tls(self, context: ssl.SSLContext, seconds: float) -> None:
        """Shake hands within ``seconds``.

        Raises:
            OSError: it did not work out, or not in time.
        """
        self._socket.settimeout(seconds)
        self._socket = context.wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        if self._interrupted:  # perhaps while neither socket was there to be shut down
            raise ConnectionAbortedError("interrupted")
        self._socket.do_handshake()
        self._socket.settimeout(self._tick_seconds)

    def receive_into(self, space: memoryview) -> int | None:
        """Read what is there, at most ``space``.

        Returns:
            how many bytes, 0 at the end of the connection, None if nothing came for a tick.

        Raises:
            PeerLost: the connection is lost.
        """
        try:
            return self._socket.recv_into(space)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise PeerLost(type(error).__name__) from error

    def send(self, data: bytes, seconds: float) -> None:
        """Send all of ``data``.

        Raises:
            TimeoutError: the peer did not take it within ``seconds``.
            PeerLost: the connection is lost.
        """
        until = time.monotonic() + seconds
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (TimeoutError, BlockingIOError) as error:
                if time.monotonic() > until:
                    raise TimeoutError("the peer takes nothing") from error
            except OSError as error:
                raise PeerLost(type(error).__name__) from error

    def hurry_acknowledgement(self) -> None:
        """Have what was read acknowledged at once, while the rest of a message has to come.

        A sender that leaves Nagle's algorithm on holds back the end of its data until then; a
        delayed acknowledgement would cost it 40 ms. The option does not stick: the kernel falls
        back by itself, so this is called again after each read that ``Hurry`` wants it for. Linux
        only; harmless elsewhere.
        """
        if _QUICKACK is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def farewell(self, data: bytes) -> None:
        """Send a last PDU, if the peer takes it within a second."""
        with contextlib.suppress(OSError):
            self.send(data, _LINGER_SECONDS)

    def linger(self, *, peer_closes: bool) -> None:
        """See to it that what was sent last arrives, for a second at most.

        Closing with unread bytes resets the connection and destroys what was sent last, so what
        the peer still sends is read and dropped.

        Args:
            peer_closes: the peer is the one to close.
        """
        with contextlib.suppress(OSError):
            if not peer_closes:
                self._socket.shutdown(socket.SHUT_WR)
            self._drain()

    def _drain(self) -> None:
        until = time.monotonic() + _LINGER_SECONDS
        scratch = memoryview(bytearray(65_536))
        rest = _LINGER_BYTES
        while rest > 0 and time.monotonic() < until:
            count = self.receive_into(scratch)
            if count == 0:
                return
            rest -= count or 0

    def interrupt(self) -> None:
        """End the connection from another thread: its reader sees the end at once."""
        self._interrupted = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.close()


def _wait_in_the_kernel(connection: socket.socket, seconds: float) -> None:
    """Have each read and each send end after so long, without a system call to wait for it first.

    Python's own time-out asks ``poll`` before each of them. It takes over with ``settimeout``,
    which TLS needs.
    """
    microseconds = max(1, round(seconds * 1_000_000))
    interval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    connection.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, interval)
