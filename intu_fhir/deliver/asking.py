"""An association on which storage commitment is asked for, and may be answered (PS3.4 annex J)."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from intu_fhir.deliver import upper_layer as ul
from intu_fhir.deliver.association import Association
from intu_fhir.deliver.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from intu_fhir.deliver.commitment_messages import (
    EventReport,
    encode_action_request,
    encode_event_answer,
    parse_event_report,
)
from intu_fhir.deliver.upper_layer import BadAnswer, Pdu, Response

Hear: TypeAlias = Callable[[bytes], int]
"""Takes the Event Information of a result and returns the status that it is answered with."""

REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 table J.3-1)."""
MAX_INFORMATION_BYTES = 8 << 20
"""Longest Event Information that is read."""

_RESULTS = frozenset({1, 2})
_SUCCESS, _INVALID_ARGUMENT = 0x0000, 0x0115
_NO_SUCH_INSTANCE, _NO_SUCH_EVENT, _NO_SUCH_CLASS = 0x0112, 0x0113, 0x0118


class AskingAssociation(Association):
    """An association as SCU of storage commitment; results may come on it at any time."""

    def __init__(
        self, address: tuple[str, int], *, tls: ssl.SSLContext | None, timeout_seconds: float
    ) -> None:
        super().__init__(address, tls=tls, timeout_seconds=timeout_seconds)
        self._fragments: deque[tuple[bool, bool, bytes]] = deque()

    def act(self, context_id: int, information: bytes, hear: Hear) -> Response:
        """Send an N-ACTION-RQ and return its answer (PS3.4 J.3.2).

        Args:
            information: Action Information, encoded for the presentation context.
            hear: takes results that come before that answer.

        Raises:
            Broken, BadAnswer, Stopped: no answer that counts.
        """
        self._connection.allow(self._timeout)
        message_id = self._next_message_id()
        command = encode_action_request(
            message_id, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, REQUEST_STORAGE_COMMITMENT
        )
        head = self._pdus(context_id, command, command=True, last=True)
        self._connection.send(head + self._pdus(context_id, information, command=False, last=True))
        while True:
            command = self._read_command()
            report = parse_event_report(command)
            if report is None:
                break
            self._take(context_id, report, hear)
        response = ul.parse_response(command)
        if (response.field, response.message_id) != (ul.Field.N_ACTION_RSP, message_id):
            raise BadAnswer("the PACS answers another message than the one it was sent")
        return response

    def take_result(self, context_id: int, seconds: float, hear: Hear) -> None:
        """Wait for one result, take it and answer it.

        Raises:
            Broken, BadAnswer, Stopped: none came within ``seconds``.
        """
        self._connection.allow(seconds)
        report = parse_event_report(self._read_command())
        if report is None:
            raise BadAnswer("an answer to nothing that was asked")
        self._take(context_id, report, hear)

    def _take(self, context_id: int, report: EventReport, hear: Hear) -> None:
        self._connection.allow(self._timeout)
        information = self._read_information() if report.has_data_set else b""
        status = _refusal(report)
        if status == _SUCCESS:
            status = hear(information)
        command = encode_event_answer(report.message_id, status)
        self._connection.allow(self._timeout)
        self._connection.send(self._pdus(context_id, command, command=True, last=True))

    def _read_command(self) -> bytes:
        return self._read_message(is_command=True, most=ul.MAX_PDU_BYTES)

    def _read_information(self) -> bytes:
        return self._read_message(is_command=False, most=MAX_INFORMATION_BYTES)

    def _read_message(self, *, is_command: bool, most: int) -> bytes:
        """Read the fragments of a command set or of a data set; both may share a PDU."""
        message = bytearray()
        while True:
            of_command, is_last, data = self._next_fragment()
            if of_command != is_command:
                raise BadAnswer("a data set where a command has to be, or the reverse")
            message += data
            if len(message) > most:
                raise BadAnswer("a message without end")
            if is_last:
                return bytes(message)

    def _next_fragment(self) -> tuple[bool, bool, bytes]:
        while not self._fragments:
            kind, body = self._connection.read_pdu()
            if kind is not Pdu.P_DATA_TF:
                raise BadAnswer(f"{kind.name} instead of a message")
            self._fragments.extend(part[1:] for part in ul.parse_fragments(body))
        return self._fragments.popleft()


def _refusal(report: EventReport) -> int:
    """Judge a result by its command (PS3.7 10.1.1.1.8)."""
    if report.sop_class_uid != STORAGE_COMMITMENT:
        return _NO_SUCH_CLASS
    if report.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return _NO_SUCH_INSTANCE
    if report.event_type_id not in _RESULTS:
        return _NO_SUCH_EVENT
    return _SUCCESS if report.has_data_set else _INVALID_ARGUMENT
