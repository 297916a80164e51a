"""The DICOM Upper Layer without sockets: bytes in, events out; answers as bytes (PS3.8 9.3).

A reader holds one growing buffer that the caller receives into. The data of a P-DATA fragment is
handed out as a view of that buffer, so a pixel is copied by the kernel and by whoever keeps it,
and by nobody in between. What a PDU claims is judged from its first six bytes: nothing that is
refused is ever waited for or kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from intu_fhir.receive.associate import (
    LONG_REQUEST,
    MAX_ITEMS,
    AssociateRequest,
    parse_associate_request,
)
from intu_fhir.receive.violation import AbortReason, ProtocolViolation

MAX_ASSOCIATE_BYTES = 1 << 17
"""Longest A-ASSOCIATE-RQ unless told otherwise: 128 contexts of 28 transfer syntaxes each."""

NO_TURN: AbstractContextManager[object] = nullcontext()

_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
_SHORT = struct.Struct(">BxI4B")
_FIRST_BUFFER = 16_384
_LONGEST_SENT = 65_536
_COMMAND, _LAST = 1, 2


class PduType(IntEnum):
    """The seven PDUs of PS3.8 9.3.1."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


@dataclass(slots=True)
class Fragment:
    """A presentation data value (PS3.8 9.3.5.1); ``data`` is good until the next ``space``.

    Not frozen, since freezing triples the cost of making one, and this is the hot path.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """The peer has nothing more to send."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The peer ended the association; ``source`` and ``reason`` as in PS3.8 9.3.8."""

    source: int
    reason: int


Event: TypeAlias = AssociateRequest | Fragment | ReleaseRequest | Abort

_PDU_TYPES = frozenset(PduType)
_EXPECTED_FIRST = frozenset({PduType.ASSOCIATE_RQ, PduType.ABORT})
_EXPECTED_LATER = frozenset({PduType.P_DATA_TF, PduType.RELEASE_RQ, PduType.ABORT})
_FIXED_LENGTH = 4
_SHORTEST: dict[int, int] = {
    PduType.ASSOCIATE_RQ: 1,
    PduType.P_DATA_TF: _PDV.size,
    PduType.RELEASE_RQ: _FIXED_LENGTH,
    PduType.ABORT: _FIXED_LENGTH,
}


class PduReader:
    """Turns a peer's bytes into events.

    Args:
        max_pdu_bytes: longest P-DATA-TF the peer may send, as told in our A-ASSOCIATE-AC.
        max_associate_bytes: longest A-ASSOCIATE-RQ.
        max_associate_items: most items and sub-items of it.
        turn: held while an A-ASSOCIATE-RQ of many items is read.
    """

    def __init__(
        self,
        max_pdu_bytes: int,
        max_associate_bytes: int = MAX_ASSOCIATE_BYTES,
        max_associate_items: int = MAX_ITEMS,
        turn: AbstractContextManager[object] = NO_TURN,
    ) -> None:
        self._longest_of: dict[int, tuple[int, str]] = {
            PduType.P_DATA_TF: (max_pdu_bytes, "max_pdu_bytes"),
            PduType.ASSOCIATE_RQ: (max_associate_bytes, "max_associate_bytes"),
        }
        self._max_associate_items = max_associate_items
        self._turn = turn
        self._longest = 2 * (max_pdu_bytes + _HEADER.size)
        self._expected = _EXPECTED_FIRST
        self._view = memoryview(bytearray(_FIRST_BUFFER))
        self._begin = self._end = 0
        self._need = _HEADER.size
        self._complete = 0

    def space(self) -> memoryview:
        """Return free room to receive into; never empty."""
        full = self._end == len(self._view)
        most = max(self._longest, self._need)
        if full and len(self._view) < most:
            self._move(min(2 * len(self._view), most))  # it came in bulk: read in bulk
        elif self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin and (full or self._begin + self._need > len(self._view)):
            self._move(len(self._view))
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """Say that ``count`` bytes were put into ``space``."""
        self._end += count

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes and give their events; each event is to be used before the next one.

        Raises:
            ProtocolViolation: the peer broke PS3.8; the association cannot go on.
        """
        rest = memoryview(data)
        while rest:
            space = self.space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            self.received(count)
            rest = rest[count:]
            yield from self.events()

    @property
    def open_pdu(self) -> int:
        """Return the number of the PDU that has begun and not ended, from 1; 0 for none."""
        return self._complete + 1 if self._begin != self._end else 0

    def events(self) -> Iterator[Event]:
        """Give the events of all PDUs that are complete.

        Raises:
            ProtocolViolation: the peer broke PS3.8; the association cannot go on.
        """
        while (kind := self._next_kind()) is not None:
            body = self._view[self._begin + _HEADER.size : self._begin + self._need]
            self._begin += self._need
            self._need = _HEADER.size
            self._complete += 1
            if kind == PduType.P_DATA_TF:
                yield from _fragments(body)
            elif kind == PduType.ASSOCIATE_RQ:
                yield self._request(body)
            else:
                yield _PARSERS[kind](body)

    def _request(self, body: memoryview) -> AssociateRequest:
        with self._turn if len(body) > LONG_REQUEST else NO_TURN:
            return parse_associate_request(body, self._max_associate_items)

    def established(self) -> None:
        """Expect data from now on: the A-ASSOCIATE-AC is about to be sent.

        Raises:
            ProtocolViolation: the peer did not wait for it (PS3.8 table 9-10, state 3).
        """
        if self.open_pdu and self._view[self._begin] != PduType.ABORT:
            raise ProtocolViolation("a PDU before the A-ASSOCIATE-AC", AbortReason.UNEXPECTED_PDU)
        self._expected = _EXPECTED_LATER

    def _next_kind(self) -> int | None:
        """Return the type of the PDU at hand once it is there from end to end."""
        have = self._end - self._begin
        if have < _HEADER.size:
            return None
        kind, length = _HEADER.unpack_from(self._view, self._begin)
        if self._need == _HEADER.size:
            self._judge(kind, length)
            self._need = _HEADER.size + length
        return kind if have >= self._need else None

    def _judge(self, kind: int, length: int) -> None:
        """Refuse a PDU by its header, before any of it is waited for."""
        if kind not in _PDU_TYPES:
            raise ProtocolViolation(_unknown(kind), AbortReason.UNRECOGNIZED_PDU)
        if kind not in self._expected:
            raise ProtocolViolation(
                f"{PduType(kind).name} at this point", AbortReason.UNEXPECTED_PDU
            )
        least = _SHORTEST[kind]
        most, limit = self._longest_of.get(kind, (_FIXED_LENGTH, ""))
        if not least <= length <= most:
            raise ProtocolViolation(
                f"{PduType(kind).name} of {length} bytes", limit=limit if length > most else ""
            )

    def _move(self, room: int) -> None:
        """Put the PDU that has begun at the front of a buffer of ``room`` bytes.

        The buffer grows only when it is full of what really came, whatever a length claims.
        """
        rest = self._view[self._begin : self._end]
        view = self._view if room == len(self._view) else memoryview(bytearray(room))
        view[: len(rest)] = rest
        self._view, self._begin, self._end = view, 0, len(rest)


def _unknown(kind: int) -> str:
    # A TLS ClientHello starts with 22: the one mistake that is worth its own words.
    hint = "; the peer speaks TLS to a port without it" if kind == 0x16 else ""
    return f"PDU type {kind:#04x} does not exist{hint}"


def _fragments(body: memoryview) -> Iterator[Fragment]:
    """Give the presentation data values of a P-DATA-TF (PS3.8 9.3.5)."""
    begin, size = 0, len(body)
    while begin < size:
        if size - begin < _PDV.size:
            raise ProtocolViolation("P-DATA-TF ends inside a PDV header")
        length, context_id, header = _PDV.unpack_from(body, begin)
        end = begin + 4 + length
        if length < 2 or end > size:
            raise ProtocolViolation(f"PDV of {length} bytes in a PDU with {size - begin - 4} left")
        data = body[begin + _PDV.size : end]
        yield Fragment(context_id, header & _COMMAND != 0, header & _LAST != 0, data)
        begin = end


def _release(_: memoryview) -> ReleaseRequest:
    return ReleaseRequest()


def _abort(body: memoryview) -> Abort:
    return Abort(source=body[2], reason=body[3])


_PARSERS: dict[int, Callable[[memoryview], Event]] = {
    PduType.RELEASE_RQ: _release,
    PduType.ABORT: _abort,
}


def encode_associate_reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _SHORT.pack(PduType.ASSOCIATE_RJ, 4, 0, result, source, reason)


def encode_release_response() -> bytes:
    """Return an A-RELEASE-RP (PS3.8 9.3.7)."""
    return _SHORT.pack(PduType.RELEASE_RP, 4, 0, 0, 0, 0)


def encode_abort(reason: AbortReason = AbortReason.NOT_SPECIFIED) -> bytes:
    """Return an A-ABORT of the service provider (PS3.8 9.3.8)."""
    return _SHORT.pack(PduType.ABORT, 4, 0, 0, 2, reason)


def encode_command(context_id: int, command: bytes, max_pdu_bytes: int) -> bytes:
    """Return the P-DATA-TF PDUs that carry a command set to the peer (PS3.8 9.3.5).

    Args:
        max_pdu_bytes: longest P-DATA-TF the peer takes; 0 means any.
    """
    return b"".join(_data_pdus(context_id, command, max_pdu_bytes, _COMMAND))


def encode_data_set(context_id: int, data_set: bytes, max_pdu_bytes: int) -> Iterator[bytes]:
    """Give the P-DATA-TF PDUs that carry a data set, some at a time.

    A peer with short PDUs makes thousands of them; together they would take many times the data
    set in memory.
    """
    gathered: list[bytes] = []
    size = 0
    for pdu in _data_pdus(context_id, data_set, max_pdu_bytes, 0):
        gathered.append(pdu)
        size += len(pdu)
        if size >= _LONGEST_SENT:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _data_pdus(context_id: int, data: bytes, max_pdu_bytes: int, kind: int) -> Iterator[bytes]:
    # Fragments are even, as some peers insist (PS3.8 annex F).
    room = (min(max_pdu_bytes or _LONGEST_SENT, _LONGEST_SENT) - _PDV.size) & ~1
    for begin in range(0, len(data), room):
        part = data[begin : begin + room]
        last = _LAST if begin + room >= len(data) else 0
        head = _HEADER.pack(PduType.P_DATA_TF, len(part) + _PDV.size)
        yield head + _PDV.pack(len(part) + 2, context_id, kind | last) + part
