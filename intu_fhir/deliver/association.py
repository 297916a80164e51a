"""One association as requestor, on a socket whose every wait ends at a deadline.

Everything runs in the caller's thread: each connect, read and write is given what is left of
the time for the step in hand, so that no peer can hold a worker, whatever it leaves undone.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from intu_fhir.deliver import upper_layer as ul
from intu_fhir.deliver.outcomes import Verdict, dimse_rule
from intu_fhir.deliver.upper_layer import BadAnswer, Pdu
from intu_fhir.errors import PermanentError, TransientError

_BLOCK_BYTES = 262_144
"""What is read from a file and written to the socket at a time."""
_READ_BYTES = 65_536
_BYTES_PER_SECOND = 32_768
"""Slowest peer that an object is sent to; it stretches the deadline of large objects."""
_RELEASE_SECONDS = 5.0
_LINGER_SECONDS = 1.0
_HEARTBEAT_SECONDS = 1.0
_TAKEN = (Verdict.DELIVERED, Verdict.WARNING)


class NotConnected(TransientError):
    """The PACS cannot be reached, or TLS with it fails."""


class Broken(TransientError):
    """The association ended before an answer came: abort, reset, silence."""


class Aborted(Broken):
    """The peer sent an A-ABORT."""


class Stopped(TransientError):
    """We were told to stop."""


class Rejected(PermanentError):
    """The PACS rejected the association (PS3.8 9.3.4)."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"A-ASSOCIATE-RJ {result}/{source}/{reason}")
        self.result, self.source, self.reason = result, source, reason


class Association:
    """An association with a PACS; use it in one thread, and ``release`` or ``abort`` it.

    Args:
        address: host and port.
        tls: settings of TLS; None speaks DICOM in the clear.
        timeout_seconds: for connecting, for negotiating, and for each message and its answer.
        keep_going: asked every second or so while something is sent or waited for.

    Raises:
        NotConnected: the PACS cannot be reached.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        tls: ssl.SSLContext | None,
        timeout_seconds: float,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        self._timeout, self._keep_going = timeout_seconds, keep_going
        self._buffer = bytearray()
        self._message_id = 0
        self._max_fragment = 0
        self._until = time.monotonic() + timeout_seconds
        self._socket = self._connect(address, tls)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR | select.POLLHUP)

    def _connect(self, address: tuple[str, int], tls: ssl.SSLContext | None) -> socket.socket:
        try:
            plain = socket.create_connection(address, timeout=self._left())
        except OSError as error:
            raise NotConnected(f"no connection: {error.strerror or 'no answer'}") from error
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return plain
        try:
            plain.settimeout(self._left())
            return tls.wrap_socket(plain, server_hostname=address[0])
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise NotConnected(
                f"the PACS's certificate is not trusted ({error.verify_message}); set tls.ca_file"
            ) from error
        except (OSError, Broken) as error:
            plain.close()
            reason = getattr(error, "reason", None) or type(error).__name__
            raise NotConnected(f"TLS with the PACS fails ({reason}); check tls") from error

    # ---- negotiation

    def negotiate(
        self, calling_ae_title: str, called_ae_title: str, contexts: Sequence[ul.Context]
    ) -> ul.Accepted:
        """Ask for presentation contexts and return what the peer grants.

        Raises:
            Rejected: by A-ASSOCIATE-RJ.
            Broken: no complete answer in time.
            BadAnswer: an answer that breaks the protocol.
        """
        self._until = time.monotonic() + self._timeout
        self._send(ul.encode_associate_request(calling_ae_title, called_ae_title, contexts))
        kind, body = self._read_pdu()
        if kind is Pdu.ASSOCIATE_RJ:
            raise Rejected(*ul.parse_reject(body))
        if kind is not Pdu.ASSOCIATE_AC:
            raise BadAnswer(f"{kind.name} instead of an answer to the association request")
        accepted = ul.parse_associate_accept(body)
        longest = (accepted.max_pdu_bytes or _BLOCK_BYTES) - ul.PDV_HEADER_BYTES
        self._max_fragment = min(longest, _BLOCK_BYTES) & ~1  # fragments are even
        return accepted

    # ---- messages

    def echo(self, context_id: int) -> int:
        """Send a C-ECHO-RQ and return the status of its answer (PS3.4 annex A).

        Raises:
            Broken, BadAnswer: no answer that counts.
        """
        self._until = time.monotonic() + self._timeout
        message_id = self._next_message_id()
        self._send(self._command(context_id, ul.encode_echo_request(message_id)))
        return self._response(ul.Field.C_ECHO_RSP, message_id).status

    def store(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        data_set: BinaryIO,
        size: int,
    ) -> ul.Response:
        """Send one instance, its bytes as they are, and return its answer (PS3.4 annex B).

        Args:
            data_set: read from where it stands, a fragment at a time.
            size: bytes that are read.

        Raises:
            Broken, BadAnswer: no answer that counts.
            Stopped: ``keep_going`` said no.
            OSError: the file cannot be read to its end.
        """
        self._until = time.monotonic() + self._timeout + size / _BYTES_PER_SECOND
        message_id = self._next_message_id()
        request = ul.encode_store_request(message_id, sop_class_uid, sop_instance_uid)
        head = self._command(context_id, request)
        early = self._send_data_set(context_id, head, data_set, size)
        self._until = time.monotonic() + self._timeout
        response = self._response(ul.Field.C_STORE_RSP, message_id)
        if response.sop_instance_uid not in {"", sop_instance_uid}:
            raise BadAnswer("the PACS answers for another instance than the one it was sent")
        if early and dimse_rule(response.status).verdict in _TAKEN:
            raise BadAnswer("the PACS reports success before it has the whole instance")
        return response

    def _send_data_set(self, context_id: int, head: bytes, data_set: BinaryIO, size: int) -> bool:
        """Send a command and its data set; say whether an answer was there before the end."""
        early, left, asked = False, size, time.monotonic()
        while True:
            block = data_set.read(min(left, _BLOCK_BYTES))
            left -= len(block)
            if not block and left:
                raise OSError("the file ends too early")
            early = early or self._has_answer()
            self._send(head + self._pdus(context_id, block, command=False, last=not left))
            if not left:
                return early
            head = b""
            if time.monotonic() - asked > _HEARTBEAT_SECONDS:
                asked = time.monotonic()
                self._heartbeat()

    def _command(self, context_id: int, command: bytes) -> bytes:
        return self._pdus(context_id, command, command=True, last=True)

    def _pdus(self, context_id: int, data: bytes, *, command: bool, last: bool) -> bytes:
        """Return data as P-DATA-TF PDUs that the peer takes, each with one fragment."""
        parts: list[bytes] = []
        for begin in range(0, len(data) or 1, self._max_fragment):
            part = data[begin : begin + self._max_fragment]
            ends = last and begin + self._max_fragment >= len(data)
            header = ul.data_pdu_header(context_id, len(part), command=command, last=ends)
            parts += (header, part)
        return b"".join(parts)

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 65_535 + 1
        return self._message_id

    def _response(self, field: ul.Field, message_id: int) -> ul.Response:
        """Read the answer to one message, and take none that is for another."""
        response = ul.parse_response(self._read_command())
        if response.field != field:
            raise BadAnswer(f"{response.field:#06x} instead of {field.name}")
        if response.message_id != message_id:
            raise BadAnswer("the PACS answers another message than the one it was sent")
        return response

    def _read_command(self) -> bytes:
        command = bytearray()
        while True:
            kind, body = self._read_pdu()
            if kind is not Pdu.P_DATA_TF:
                raise BadAnswer(f"{kind.name} instead of an answer")
            for _, is_command, is_last, data in ul.parse_fragments(body):
                if not is_command:
                    raise BadAnswer("a data set instead of an answer")
                command += data
                if len(command) > ul.MAX_PDU_BYTES:
                    raise BadAnswer("an answer without end")
                if is_last:
                    return bytes(command)

    # ---- the end

    def release(self) -> None:
        """End the association in order; what was answered stands, whatever the peer does now."""
        self._until = time.monotonic() + min(self._timeout, _RELEASE_SECONDS)
        with contextlib.suppress(Broken, BadAnswer):
            self._send(ul.RELEASE_REQUEST)
            kind, _ = self._read_pdu()
            if kind is Pdu.RELEASE_RQ:
                # Both asked at once (PS3.8 9.2.2.6): answer, then wait for the peer's answer.
                self._send(ul.RELEASE_RESPONSE)
                self._read_pdu()
        self.close()

    def abort(self) -> None:
        """End the association at once."""
        self._until = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(Broken):
            self._send(ul.ABORT)
        self.close()

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.close()

    # ---- the socket

    def _heartbeat(self) -> None:
        """Let the caller keep its lease, or stop."""
        if not self._keep_going():
            raise Stopped("sending was stopped")

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Broken("no answer in time")
        return left

    def _send(self, data: bytes) -> None:
        try:
            # A peer that reads nothing at all is given up long before a large object's time is up.
            self._socket.settimeout(min(self._left(), self._timeout))
            self._socket.sendall(data)
        except TimeoutError as error:
            raise Broken("the PACS stopped reading") from error
        except OSError as error:
            raise Broken(self._last_words() or _words(error)) from error

    def _last_words(self) -> str:
        """Return why the peer closed, where its A-ABORT arrived before our writing failed."""
        self._until = time.monotonic() + _LINGER_SECONDS
        try:
            self._read_pdu()
        except Aborted as error:
            return str(error)
        except (Broken, BadAnswer):
            pass
        return ""

    def _has_answer(self) -> bool:
        """Say whether the peer has sent something, without waiting for it."""
        if self._buffer:
            return True
        if not self._poll.poll(0):
            return False
        try:
            self._socket.settimeout(0)
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise Broken(_words(error)) from error
        if not data:
            raise Broken("the PACS closed the connection")
        self._buffer += data
        return True

    def _read_pdu(self) -> tuple[Pdu, bytes]:
        """Read one PDU to its end; an A-ABORT raises."""
        kind, length = ul.read_pdu_header(self._take(ul.PDU_HEADER_BYTES))
        body = self._take(length)
        if kind is Pdu.ABORT:
            source, reason = (body[2], body[3]) if len(body) == 4 else (0, 0)
            raise Aborted(f"the PACS aborted the association (A-ABORT {source}/{reason})")
        return kind, body

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                self._socket.settimeout(min(self._left(), _HEARTBEAT_SECONDS))
                data = self._socket.recv(_READ_BYTES)
            except TimeoutError:
                self._heartbeat()
                continue
            except OSError as error:
                raise Broken(_words(error)) from error
            if not data:
                raise Broken("the PACS closed the connection")
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _words(error: OSError) -> str:
    return f"the connection broke: {error.strerror or type(error).__name__}"
