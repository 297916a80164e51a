"""One association as requestor: negotiation, C-STORE, C-ECHO, release (PS3.8 section 7)."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from intu_fhir.deliver import upper_layer as ul
from intu_fhir.deliver.accepted import parse_associate_accept
from intu_fhir.deliver.outcomes import Verdict, dimse_rule
from intu_fhir.deliver.transport import (
    HEARTBEAT_SECONDS,
    Broken,
    Connection,
    NotConnected,
    Stopped,
)
from intu_fhir.deliver.upper_layer import BadAnswer, Pdu
from intu_fhir.errors import PermanentError

__all__ = ["Association", "Broken", "NotConnected", "Rejected", "Stopped"]

_BLOCK_BYTES = 262_144
"""What is read from a file and written to the socket at a time."""
_BYTES_PER_SECOND = 32_768
"""Slowest peer that an object is sent to; it stretches the deadline of large objects."""
_RELEASE_SECONDS = 5.0
_ABORT_SECONDS = 1.0
_TAKEN = (Verdict.DELIVERED, Verdict.WARNING)


class Source(Protocol):
    """What a data set is read from, such as a file."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes; fewer only at the end."""


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
        self._timeout = timeout_seconds
        self._message_id = 0
        self._max_fragment = 0
        self._connection = Connection(
            address, tls=tls, timeout_seconds=timeout_seconds, keep_going=keep_going
        )

    def negotiate(
        self,
        calling_ae_title: str,
        called_ae_title: str,
        contexts: Sequence[ul.Context],
        as_provider: Sequence[str] = (),
    ) -> ul.Accepted:
        """Ask for presentation contexts and return what the peer grants.

        Args:
            as_provider: SOP classes that we are the SCP of, not the SCU (PS3.7 D.3.3.4).

        Raises:
            Rejected: by A-ASSOCIATE-RJ.
            Broken, Stopped: no complete answer in time.
            BadAnswer: an answer that breaks the protocol.
        """
        self._connection.allow(self._timeout)
        request = ul.encode_associate_request(
            calling_ae_title, called_ae_title, contexts, as_provider
        )
        self._connection.send(request)
        kind, body = self._connection.read_pdu()
        if kind is Pdu.ASSOCIATE_RJ:
            raise Rejected(*ul.parse_reject(body))
        if kind is not Pdu.ASSOCIATE_AC:
            raise BadAnswer(f"{kind.name} instead of an answer to the association request")
        accepted = parse_associate_accept(body)
        longest = (accepted.max_pdu_bytes or _BLOCK_BYTES) - ul.PDV_HEADER_BYTES
        self._max_fragment = min(longest, _BLOCK_BYTES) & ~1  # fragments are even
        return accepted

    def echo(self, context_id: int) -> int:
        """Send a C-ECHO-RQ and return the status of its answer (PS3.4 annex A).

        Raises:
            Broken, BadAnswer, Stopped: no answer that counts.
        """
        self._connection.allow(self._timeout)
        message_id = self._next_message_id()
        command = ul.encode_echo_request(message_id)
        self._connection.send(self._pdus(context_id, command, command=True, last=True))
        return self._response(ul.Field.C_ECHO_RSP, message_id).status

    def store(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        data_set: Source,
        size: int,
        *,
        padding: bytes = b"",
    ) -> ul.Response:
        """Send one instance, its bytes as they are, and return its answer (PS3.4 annex B).

        Args:
            data_set: read from where it stands, a block at a time.
            size: bytes that are read.
            padding: sent after them.

        Raises:
            Broken, BadAnswer, Stopped: no answer that counts.
            OSError: the file cannot be read to its end.
        """
        self._connection.allow(self._timeout + size / _BYTES_PER_SECOND)
        message_id = self._next_message_id()
        command = ul.encode_store_request(message_id, sop_class_uid, sop_instance_uid)
        head = self._pdus(context_id, command, command=True, last=True)
        early = self._send_data_set(context_id, head, data_set, size, padding)
        self._connection.allow(self._timeout)
        response = self._response(ul.Field.C_STORE_RSP, message_id)
        if response.sop_instance_uid not in {"", sop_instance_uid}:
            raise BadAnswer("the PACS answers for another instance than the one it was sent")
        if early and dimse_rule(response.status).verdict in _TAKEN:
            raise BadAnswer("the PACS reports success before it has the whole instance")
        return response

    def report_event(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        event_type_id: int,
        information: bytes,
    ) -> int:
        """Send an N-EVENT-REPORT-RQ and return the status of its answer (PS3.7 10.1.1).

        Args:
            information: Event Information, encoded for the presentation context.

        Raises:
            Broken, BadAnswer, Stopped: no answer that counts.
        """
        self._connection.allow(self._timeout)
        message_id = self._next_message_id()
        command = ul.encode_event_report(message_id, sop_class_uid, sop_instance_uid, event_type_id)
        head = self._pdus(context_id, command, command=True, last=True)
        self._connection.send(head + self._pdus(context_id, information, command=False, last=True))
        return self._response(ul.Field.N_EVENT_REPORT_RSP, message_id).status

    def resume(self, keep_going: Callable[[], bool]) -> bool:
        """Use the association for another caller; say whether it is still there, and silent."""
        self._connection.serve(keep_going)
        try:
            return not self._connection.has_answer()
        except Broken:
            return False

    def release(self) -> None:
        """End the association in order; what was answered stands, whatever the peer does now."""
        connection = self._connection
        connection.allow(min(self._timeout, _RELEASE_SECONDS))
        with contextlib.suppress(Broken, BadAnswer, Stopped):
            connection.send(ul.RELEASE_REQUEST)
            kind, _ = connection.read_pdu()
            if kind is Pdu.RELEASE_RQ:
                # Both asked at once (PS3.8 9.2.2.6): answer, then wait for the peer's answer.
                connection.send(ul.RELEASE_RESPONSE)
                connection.read_pdu()
        connection.close()

    def abort(self) -> None:
        """End the association at once."""
        self._connection.allow(_ABORT_SECONDS)
        with contextlib.suppress(Broken):
            self._connection.send(ul.ABORT)
        self._connection.close()

    def close(self) -> None:
        """Close the connection of an association that never came about."""
        self._connection.close()

    def _send_data_set(
        self, context_id: int, head: bytes, data_set: Source, size: int, padding: bytes
    ) -> bool:
        """Send a command and its data set; say whether an answer was there before the end."""
        early, left, asked = False, size, time.monotonic()
        while True:
            block = data_set.read(min(left, _BLOCK_BYTES))
            left -= len(block)
            if not block and left:
                raise OSError("the file ends too early")
            early = early or self._connection.has_answer()
            block = block if left else block + padding
            self._connection.send(
                head + self._pdus(context_id, block, command=False, last=not left)
            )
            if not left:
                return early
            head = b""
            if time.monotonic() - asked > HEARTBEAT_SECONDS:
                asked = time.monotonic()
                self._connection.heartbeat()

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
            kind, body = self._connection.read_pdu()
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
