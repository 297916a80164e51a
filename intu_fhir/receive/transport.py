"""A connected socket whose every wait ends: reads by a tick, sends and farewells by a deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 16 << 20
_NOT_CUT: Callable[[], bool] = lambda: False  # noqa: E731
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class PeerLost(OSError):
    """The connection is gone: an error of the socket, which is told from one of a disk."""


def tls_reason(error: OSError) -> str:
    """Say why a handshake failed, for the log."""
    reason = getattr(error, "reason", None) or type(error).__name__
    return f"{reason}, {_NO_TLS}" if reason in _OF_NO_TLS else reason


_NO_TLS = "the peer speaks no TLS, perhaps plain DICOM"
_OF_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})


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

        Where that fails, the alert that says why is seen on its way: a client of TLS 1.3 may have
        sent more already, and to close with that unread destroys it (RFC 8446 6.2).

        Raises:
            OSError: it did not work out, or not in time.
        """
        self._socket.settimeout(seconds)
        self._socket = context.wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        if self._interrupted:  # perhaps while neither socket was there to be shut down
            raise ConnectionAbortedError("interrupted")
        try:
            self._socket.do_handshake()
        except ssl.SSLError:
            self.linger(peer_closes=False)
            raise
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

    def send(self, data: bytes, seconds: float, is_cut: Callable[[], bool] = _NOT_CUT) -> None:
        """Send all of ``data``.

        Args:
            seconds: in sum, however often the peer takes a little.
            is_cut: says whether what the peer does not take at once is not waited for any more.

        Raises:
            TimeoutError: the peer did not take it in time.
            PeerLost: the connection is lost.
        """
        until = time.monotonic() + seconds
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except (TimeoutError, BlockingIOError):
                pass  # the clock says whether to go on
            except OSError as error:
                raise PeerLost(type(error).__name__) from error
            if rest and (time.monotonic() > until or is_cut()):
                raise TimeoutError("the peer has not taken all of it")

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
        the peer still sends is read and dropped, as it is, since nobody decrypts it any more.

        Args:
            peer_closes: the peer is the one to close.
        """
        with contextlib.suppress(OSError):
            self._socket.settimeout(self._tick_seconds)
            if peer_closes:
                self._drain(self.receive_into)
            self._end_tls()
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            if not peer_closes:
                self._drain(self._receive_encrypted)

    def _end_tls(self) -> None:
        """Say close_notify, and do not wait for the peer's (RFC 8446 6.1).

        Without it an end looks to the peer like a connection that somebody has cut.
        """
        if not isinstance(self._socket, ssl.SSLSocket):
            return
        with contextlib.suppress(OSError, ValueError):  # no handshake, or nobody there any more
            self._socket.settimeout(0)
            self._socket.unwrap()
        with contextlib.suppress(OSError):
            self._socket.settimeout(self._tick_seconds)

    def _receive_encrypted(self, space: memoryview) -> int | None:
        try:
            return socket.socket.recv_into(self._socket, space)
        except TimeoutError:
            return None

    def _drain(self, receive_into: Callable[[memoryview], int | None]) -> None:
        until = time.monotonic() + _LINGER_SECONDS
        scratch = memoryview(bytearray(65_536))
        rest = _LINGER_BYTES
        while rest > 0 and time.monotonic() < until:
            count = receive_into(scratch)
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
        self._end_tls()
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
