"""A connection to a PACS whose every wait ends at a deadline.

Everything runs in the caller's thread: each connect, read and write is given what is left of
the time for the step in hand, so that no peer can hold a worker, whatever it leaves undone.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable

from intu_fhir.deliver import upper_layer as ul
from intu_fhir.deliver.addresses import connect
from intu_fhir.deliver.tls import ANSWERS_PLAINLY, answers_plainly
from intu_fhir.deliver.upper_layer import BadAnswer, Pdu
from intu_fhir.errors import TransientError

HEARTBEAT_SECONDS = 1.0
_READ_BYTES = 65_536
_LINGER_SECONDS = 1.0


class NotConnected(TransientError):
    """The PACS cannot be reached, or TLS with it fails."""


class Broken(TransientError):
    """The association ended before an answer came: abort, reset, silence."""


class Aborted(Broken):
    """The peer sent an A-ABORT."""


class Stopped(TransientError):
    """We were told to stop."""


class Connection:
    """PDUs to and from a PACS.

    Args:
        address: host and port.
        tls: settings of TLS; None speaks DICOM in the clear.
        timeout_seconds: for connecting, and for a peer that reads nothing.
        keep_going: asked every second or so while something is waited for.

    Raises:
        NotConnected: the PACS cannot be reached.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        tls: ssl.SSLContext | None,
        timeout_seconds: float,
        keep_going: Callable[[], bool],
    ) -> None:
        self._timeout, self._keep_going = timeout_seconds, keep_going
        self._buffer = bytearray()
        self._until = 0.0
        self.allow(timeout_seconds)
        self._socket = self._connect(address, tls)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR | select.POLLHUP)

    def allow(self, seconds: float) -> None:
        """Give the next step so much time."""
        self._until = time.monotonic() + seconds

    def serve(self, keep_going: Callable[[], bool]) -> None:
        """Ask another caller from now on."""
        self._keep_going = keep_going

    def heartbeat(self) -> None:
        """Let the caller keep its lease.

        Raises:
            Stopped: it does not want to go on.
        """
        if not self._keep_going():
            raise Stopped("sending was stopped")

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            Broken: the peer is gone or does not read.
        """
        try:
            # A peer that reads nothing at all is given up long before a large object's time is up.
            self._socket.settimeout(min(self._left(), self._timeout))
            self._socket.sendall(data)
        except TimeoutError as error:
            raise Broken("the PACS stopped reading") from error
        except OSError as error:
            raise self._last_words() or Broken(_words(error)) from error

    def has_answer(self) -> bool:
        """Say whether the peer has sent something, without waiting for it.

        Raises:
            Broken: the peer is gone.
        """
        if self._buffer:
            return True
        if not self._poll.poll(0):
            return False
        try:
            self._socket.settimeout(0)
            self._received(self._socket.recv(_READ_BYTES))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise Broken(_words(error)) from error
        return True

    def read_pdu(self) -> tuple[Pdu, bytes]:
        """Read one PDU to its end.

        Raises:
            Aborted: it is an A-ABORT.
            Broken: it does not come in time, or the peer is gone.
            BadAnswer: it is none.
            Stopped: the caller does not want to wait any longer.
        """
        kind, length = ul.read_pdu_header(self._take(ul.PDU_HEADER_BYTES))
        body = self._take(length)
        if kind is Pdu.ABORT:
            source, reason = (body[2], body[3]) if len(body) == 4 else (0, 0)
            raise Aborted(f"the PACS aborted the association (A-ABORT {source}/{reason})")
        return kind, body

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _connect(self, address: tuple[str, int], tls: ssl.SSLContext | None) -> socket.socket:
        try:
            plain = connect(address, self._left)
        except (OSError, Broken) as error:
            words = getattr(error, "strerror", "") or "no answer"
            raise NotConnected(f"no connection: {words}") from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return plain
        try:
            plain.settimeout(self._left())
            return tls.wrap_socket(plain, server_hostname=address[0])
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise NotConnected(
                f"the PACS's certificate is not trusted ({error.verify_message}); set tls.ca_file "
                "and restart"
            ) from error
        except (OSError, Broken) as error:
            plain.close()
            reason = getattr(error, "reason", None) or type(error).__name__
            if answers_plainly(error):
                reason = ANSWERS_PLAINLY
            raise NotConnected(
                f"TLS with the PACS fails ({reason}); check tls, and restart where it was wrong"
            ) from error

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Broken("no answer in time")
        return left

    def _last_words(self) -> Aborted | None:
        """Return why the peer closed, where its A-ABORT arrived before our writing failed."""
        self.allow(_LINGER_SECONDS)
        try:
            self.read_pdu()
        except Aborted as error:
            return error
        except (Broken, BadAnswer, Stopped):
            pass
        return None

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                self._socket.settimeout(min(self._left(), HEARTBEAT_SECONDS))
                self._received(self._socket.recv(_READ_BYTES))
            except TimeoutError:
                self.heartbeat()
            except OSError as error:
                raise Broken(_words(error)) from error
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _received(self, data: bytes) -> None:
        if not data:
            raise Broken("the PACS closed the connection")
        self._buffer += data


def _words(error: OSError) -> str:
    return f"the connection broke: {error.strerror or type(error).__name__}"
