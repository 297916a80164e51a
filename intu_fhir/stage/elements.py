"""Walks the elements of a data set without copying it and without touching pixel bytes.

Iterative, so that nesting costs no stack; bounded, so that hostile bytes cost no time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from intu_fhir.errors import InvalidDataSet, LimitPassed
from intu_fhir.stage.dictionary import SEQUENCES
from intu_fhir.stage.encodings import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Buffer,
    Encoding,
    Limits,
    implicit_form,
    is_value_representation,
)
from intu_fhir.stage.sources import Source
from intu_fhir.stage.walk_state import Everything, Frame, Wanted, by_key

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_DELIMITATION = 0xFFFEE00D
SEQUENCE_DELIMITATION = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010

# PS3.5 7.1.2: a 16-bit length follows these, a reserved field and a 32-bit length all others.
SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT"}
    | {b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
KNOWN_VRS = SHORT_VRS | LONG_VRS | {b"SQ"}

_DELIMITERS = frozenset({ITEM, ITEM_DELIMITATION, SEQUENCE_DELIMITATION})
_NOTHING: dict[int, int] = {}

# What is read of a source at once: while elements follow each other, and after a leap.
_WINDOW = 65_536
_PEEK = 4_096
_HEAD = 16  # the longest head of an element, or an item and the VR of its first element


class Element(NamedTuple):
    """Where one element stands.

    Args:
        tag: ``0xggggeeee``.
        vr: as written, or ``b""`` where the form is implicit.
        offset: of the value, in the buffer.
        length: of the value in bytes, or ``UNDEFINED``.
        depth: 0 for the data set itself, 1 for items of its sequences, and so on.
        little: byte order of the value.
    """

    tag: int
    vr: bytes
    offset: int
    length: int
    depth: int
    little: bool


def walk(
    buffer: Buffer,
    encoding: Encoding,
    limits: Limits,
    wanted: frozenset[int] | None = None,
) -> Iterator[Element]:
    """Yield the elements of a data set in order, and check that it is complete.

    A sequence is yielded before its content. Each item starts with an element ``ITEM``, whose
    depth is that of the elements inside it. Pixel data in fragments is one element of
    undefined length.

    Args:
        buffer: the data set, already inflated (``encodings.open_data_set``).
        wanted: yield only these tags, of the top level; the rest is checked all the same.

    Raises:
        InvalidDataSet: the bytes do not end exactly where an element ends, or a limit is passed.
    """
    return _Walk(buffer, limits, wanted).run(Frame(0, len(buffer), encoding, 0))


def walk_source(
    source: Source, encoding: Encoding, limits: Limits, wanted: frozenset[int]
) -> Iterator[Element]:
    """As ``walk``, of a data set that is not in memory: a window of it at a time.

    Raises:
        InvalidDataSet: as with ``walk``.
        OSError: the disk fails.
    """
    return _Walk(b"", limits, wanted, source).run(Frame(0, source.size, encoding, 0))


def walk_items(buffer: Buffer, element: Element, limits: Limits) -> Iterator[Element]:
    """Yield the items and elements in a value that is not written as a sequence but is one.

    Such a value came as UN or as a private element of implicit form, and was left closed.

    Raises:
        InvalidDataSet: it is no sequence.
    """
    end = element.offset + element.length
    known = EXPLICIT_LITTLE if element.little else EXPLICIT_BIG
    form = IMPLICIT_LITTLE if element.vr == b"UN" else implicit_form(known)
    frame = Frame(element.offset, end, form, element.depth + 1, sequence=True, unknown=True)
    return _Walk(buffer, limits, None).run(frame)


def is_walked(element: Element) -> bool:
    """Say whether ``walk`` yields the content of this element, if it has any."""
    return _is_sequence(element.tag, element.vr, element.length)


class _Walk:
    """One pass over one buffer, or over a source by way of a window.

    The buffer is what of the data set is at hand, and ``_begin`` where that stands in it.
    """

    def __init__(
        self,
        buffer: Buffer,
        limits: Limits,
        wanted: frozenset[int] | None,
        source: Source | None = None,
    ) -> None:
        self._buffer, self._limits, self._wanted = buffer, limits, wanted
        self._source, self._begin = source, 0
        self._left = limits.max_elements
        self._stack: list[Frame] = []

    def run(self, frame: Frame) -> Iterator[Element]:
        self._stack.append(frame)
        try:
            while self._stack:
                frame = self._stack[-1]
                if frame.sequence:
                    yield from self._item(frame)
                    continue
                yield from self._plain_elements(frame)
                if frame.pos >= frame.end:
                    self._close(frame)
                elif not self._moved(frame.pos):
                    yield from self._special(frame)
        except struct.error:
            raise InvalidDataSet("The data set ends inside an element; send it again") from None

    def _moved(self, pos: int) -> bool:
        """Have a whole head at ``pos`` in the window; True if it had to be moved for that."""
        source, at_hand = self._source, self._begin + len(self._buffer)
        if source is None or pos + _HEAD <= at_hand or (pos == self._begin and self._buffer):
            return False
        self._buffer = source.read(pos, _WINDOW if pos <= at_hand else _PEEK)
        self._begin = pos
        if not self._buffer:
            raise struct.error("nothing is there")
        return True

    def _stop(self, end: int) -> int:
        """Return where plain elements of a frame that goes to ``end`` are to be left alone."""
        at_hand = self._begin + len(self._buffer)
        if self._source is None or at_hand == self._source.size:
            return end
        return min(end, at_hand - _HEAD + 1)

    def _plain_elements(self, frame: Frame) -> Iterator[Element]:
        """Read elements up to the first one that is not simply head and value."""
        wanted = self._keys(frame)
        return (self._explicit if frame.encoding.explicit else self._implicit)(frame, wanted)

    def _keys(self, frame: Frame) -> Wanted:
        if self._wanted is None:
            return Everything(frame.encoding)
        return _NOTHING if frame.depth else by_key(self._wanted, frame.encoding)

    def _explicit(self, frame: Frame, wanted: Wanted) -> Iterator[Element]:
        """Read plain elements of explicit form; kept in one loop since every image runs it."""
        buffer, begin, pos = self._buffer, self._begin, frame.pos - self._begin
        end, stop = frame.end - begin, self._stop(frame.end) - begin
        head, number = frame.encoding.explicit_head, frame.encoding.number
        depth, little, new = frame.depth, frame.encoding.little, tuple.__new__
        for read in range(self._left):  # noqa: B007  (counted down after the loop)
            if pos >= stop:
                break
            key, vr, length = head(buffer, pos)
            if vr in SHORT_VRS:
                offset = pos + 8
            elif vr in LONG_VRS and (length := number(buffer, pos + 8)[0]) != UNDEFINED:
                offset = pos + 12
            else:
                break
            pos = offset + length
            if key in wanted:
                if pos > end:
                    raise _overrun(wanted[key])
                yield new(Element, (wanted[key], vr, offset + begin, length, depth, little))
        else:
            self._too_many()
        frame.pos = pos + begin
        self._left -= read

    def _implicit(self, frame: Frame, wanted: Wanted) -> Iterator[Element]:
        """Read plain elements of implicit form."""
        buffer, begin, pos = self._buffer, self._begin, frame.pos - self._begin
        end, stop = frame.end - begin, self._stop(frame.end) - begin
        head, stops = frame.encoding.implicit_head, by_key(_STOPS, frame.encoding)
        depth, little, new = frame.depth, frame.encoding.little, tuple.__new__
        for read in range(self._left):  # noqa: B007  (counted down after the loop)
            if pos >= stop:
                break
            key, length = head(buffer, pos)
            if length == UNDEFINED or key in stops:
                break
            offset = pos + 8
            pos = offset + length
            if key in wanted:
                if pos > end:
                    raise _overrun(wanted[key])
                yield new(Element, (wanted[key], b"", offset + begin, length, depth, little))
        else:
            self._too_many()
        frame.pos = pos + begin
        self._left -= read

    def _special(self, frame: Frame) -> Iterator[Element]:
        """Read one element that is a sequence, has fragments, or whose VR nobody knows."""
        self._count()
        key, vr, offset, length = self._head(frame)
        tag = frame.encoding.tag(key)
        if tag in _DELIMITERS:
            self._delimiter(frame, tag)
            return
        if length != UNDEFINED and offset + length > frame.end:
            raise _overrun(tag)
        if key in self._keys(frame):
            yield Element(tag, vr, offset, length, frame.depth, frame.encoding.little)
        if _is_sequence(tag, vr, length):
            self._push_sequence(frame, vr, offset, length)
        elif length == UNDEFINED:
            frame.pos = self._after_fragments(offset, frame)
        else:
            frame.pos = offset + length

    def _head(self, frame: Frame) -> tuple[int, bytes, int, int]:
        """Return key, VR, value offset and value length of the element at ``frame.pos``."""
        at = frame.pos - self._begin
        key, vr, short = frame.encoding.explicit_head(self._buffer, at)
        if frame.encoding.explicit and is_value_representation(vr):
            if vr not in KNOWN_VRS and short:
                # PS3.5 7.1.2 gives VRs to come a reserved field of zeros: this is none of them.
                return key, vr, frame.pos + 8, short
            length = frame.encoding.number(self._buffer, at + 8)[0]
            return key, vr, frame.pos + 12, length
        # Some writers fall back to the implicit form for single elements, or leave out the VR.
        length = frame.encoding.implicit_head(self._buffer, at)[1]
        if frame.encoding.explicit and frame.pos + 8 + length > frame.end and length != UNDEFINED:
            length = short
        return key, b"", frame.pos + 8, length

    def _push_sequence(self, frame: Frame, vr: bytes, offset: int, length: int) -> None:
        undefined = length == UNDEFINED
        end = frame.end if undefined else offset + length
        if frame.depth >= self._limits.max_nesting:
            raise LimitPassed(
                f"Sequences are nested deeper than {self._limits.max_nesting}; "
                "raise receiver.max_nesting if that is wanted",
                "max_nesting",
            )
        unknown = vr == b"UN"
        # PS3.5 6.2.2: UN of undefined length holds implicit little endian items.
        encoding = IMPLICIT_LITTLE if unknown else frame.encoding
        self._stack.append(
            Frame(
                offset,
                end,
                encoding,
                frame.depth + 1,
                sequence=True,
                undefined=undefined,
                unknown=unknown or frame.unknown,
            )
        )

    def _item(self, frame: Frame) -> Iterator[Element]:
        """Read the head of the next item, or the end, of a sequence."""
        if frame.pos >= frame.end:
            self._close(frame)
            return
        self._count()
        self._moved(frame.pos)
        key, length = frame.encoding.implicit_head(self._buffer, frame.pos - self._begin)
        tag, start = frame.encoding.tag(key), frame.pos + 8
        if tag == SEQUENCE_DELIMITATION and (frame.undefined or start == frame.end):
            self._pop(start)
            return
        if tag != ITEM:
            raise InvalidDataSet("A sequence holds something else than items; not readable")
        undefined = length == UNDEFINED
        end = frame.end if undefined else start + length
        if end > frame.end:
            raise InvalidDataSet("An item runs beyond its sequence; send the object again")
        encoding = self._item_encoding(frame, start, end)
        if self._wanted is None:
            yield Element(ITEM, b"", start, length, frame.depth, encoding.little)
        self._stack.append(
            Frame(start, end, encoding, frame.depth, undefined=undefined, unknown=frame.unknown)
        )

    def _item_encoding(self, frame: Frame, start: int, end: int) -> Encoding:
        """Look at the first element of an item, whose form may differ from what is announced."""
        at = start - self._begin
        code = bytes(self._buffer[at + 4 : at + 6])
        if start + 8 > end:
            return frame.encoding
        if frame.unknown:
            return EXPLICIT_LITTLE if code in KNOWN_VRS else IMPLICIT_LITTLE
        if frame.encoding.explicit and not is_value_representation(code):
            return implicit_form(frame.encoding)
        return frame.encoding

    def _delimiter(self, frame: Frame, tag: int) -> None:
        """End an item of undefined length; elsewhere a delimiter is out of place."""
        after = frame.pos + 8
        if tag != ITEM_DELIMITATION or not (frame.undefined or after == frame.end):
            raise InvalidDataSet("A delimiter stands where an element should; not readable")
        self._pop(after)

    def _close(self, frame: Frame) -> None:
        """Leave a frame whose bytes are used up."""
        if frame.undefined or frame.pos != frame.end:
            raise InvalidDataSet("The data set ends inside an element; send it again")
        self._pop(frame.end)

    def _pop(self, pos: int) -> None:
        self._stack.pop()
        if self._stack:
            self._stack[-1].pos = pos

    def _after_fragments(self, pos: int, frame: Frame) -> int:
        """Return where fragments of pixel data end (PS3.5 A.4)."""
        while True:
            self._count()
            self._moved(pos)
            key, length = frame.encoding.implicit_head(self._buffer, pos - self._begin)
            tag = frame.encoding.tag(key)
            if tag == SEQUENCE_DELIMITATION:
                return pos + 8
            pos += 8 + length
            if tag != ITEM:
                raise InvalidDataSet("Pixel data in fragments is damaged; send the object again")

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._too_many()

    def _too_many(self) -> None:
        raise LimitPassed(
            f"More than {self._limits.max_elements} elements; "
            "raise receiver.max_elements if that is wanted",
            "max_elements",
        )


_STOPS = SEQUENCES | _DELIMITERS


def _is_sequence(tag: int, vr: bytes, length: int) -> bool:
    if vr == b"SQ" or (not vr and tag in SEQUENCES):
        return True
    return length == UNDEFINED and tag != PIXEL_DATA and vr in {b"", b"UN"}


def _overrun(tag: int) -> InvalidDataSet:
    where = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return InvalidDataSet(f"The data set ends inside element {where}; send it again")
