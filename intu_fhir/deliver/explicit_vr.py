"""Data sets in an explicit VR, taken apart and put together byte by byte (PS3.5 section 7).

Values are not interpreted: what is written holds the very bytes that were read, so that no value
changes which a reader of values would mend, complain of or lose.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from intu_fhir.errors import PermanentError

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
"""Value representations with a length of four bytes (PS3.5 table 7.1-1)."""
_UNITS = dict.fromkeys(("US", "SS", "OW", "AT"), 2)
_UNITS |= dict.fromkeys(("UL", "SL", "FL", "OL", "OF"), 4)
_UNITS |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)
_DEEPEST = 32
"""Sequences within sequences that are followed."""


class NotConvertible(PermanentError):
    """An instance cannot be decompressed; the message says why, without anything that it holds."""


class NotTakenApart(NotConvertible):
    """The bytes are not what they should be."""


@dataclass(frozen=True, slots=True)
class Element:
    """A data element.

    Args:
        value: its bytes in little endian; of a sequence its items as they stand in the data set.
        undefined: its length is not given, and a delimiter ends it.
        big_endian: the items of a sequence are still big endian.
    """

    tag: int
    vr: str
    value: bytes
    undefined: bool = False
    big_endian: bool = False

    @property
    def is_sequence(self) -> bool:
        """Whether its value is items; of UN they are in implicit VR (PS3.5 6.2.2 note 2)."""
        return self.vr == "SQ"


def read_elements(data: bytes, *, big_endian: bool = False, depth: int = 0) -> list[Element]:
    """Return the elements of a data set, without those of sequences.

    Raises:
        NotTakenApart: lengths or VRs do not fit.
    """
    reader, found = _Reader(data, ">" if big_endian else "<", depth), []
    while not reader.at_end:
        found.append(reader.element())
    return found


def read_items(sequence: Element, depth: int) -> list[tuple[bool, list[Element]]]:
    """Return the items of a sequence, each with whether its length is undefined.

    Raises:
        NotTakenApart: they do not fit, or stand too deep.
    """
    if depth > _DEEPEST:
        raise NotTakenApart("its sequences are too deep")
    reader, found = _Reader(sequence.value, ">" if sequence.big_endian else "<", depth), []
    while not reader.at_end:
        undefined, content = reader.item()
        elements = read_elements(content, big_endian=sequence.big_endian, depth=depth)
        found.append((undefined, elements))
    return found


def encode(elements: Iterable[Element], *, implicit: bool, depth: int = 0) -> bytes:
    """Return elements in Explicit or Implicit VR Little Endian, without group lengths.

    Raises:
        NotTakenApart: a sequence in it cannot be read.
    """
    return b"".join(
        _encoded(one, implicit, depth)
        for one in elements
        if one.tag & 0xFFFF  # the length of a group may be wrong now (PS3.5 7.2)
    )


def encode_head(tag: int, vr: str, length: int, *, implicit: bool) -> bytes:
    """Return what stands before a value of so many bytes."""
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack("<HHI", group, number, length)
    name = vr.encode("ascii")
    if vr in _LONG:
        return struct.pack("<HH2sHI", group, number, name, 0, length)
    return struct.pack("<HH2sH", group, number, name, length)


def encode_item(content: bytes, *, undefined: bool) -> bytes:
    """Return an item of a sequence (PS3.5 7.5)."""
    if undefined:
        return _delimiter(ITEM, UNDEFINED) + content + _delimiter(ITEM_END, 0)
    return _delimiter(ITEM, len(content)) + content


def _encoded(one: Element, implicit: bool, depth: int) -> bytes:
    value = _sequence(one, implicit, depth) if one.is_sequence else one.value
    length = UNDEFINED if one.undefined else len(value)
    end = _delimiter(SEQUENCE_END, 0) if one.undefined else b""
    return encode_head(one.tag, one.vr, length, implicit=implicit) + value + end


def _sequence(one: Element, implicit: bool, depth: int) -> bytes:
    items = read_items(one, depth + 1)
    return b"".join(
        encode_item(encode(elements, implicit=implicit, depth=depth + 1), undefined=undefined)
        for undefined, elements in items
    )


def _delimiter(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


class _Reader:
    """Reads from bytes, each length compared with what is there."""

    def __init__(self, data: bytes, order: str, depth: int, at: int = 0) -> None:
        self._data, self._order, self._depth, self._at = data, order, depth, at

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def element(self) -> Element:
        tag = self._tag()
        vr = self._take(2).decode("latin-1")
        if not (vr.isascii() and vr.isalpha() and vr.isupper()):
            raise NotTakenApart("an element has no value representation")
        length = self._length(vr)
        if length == UNDEFINED:
            return self._undefined(tag, vr)
        return self._element(tag, vr, self._take(length))

    def item(self) -> tuple[bool, bytes]:
        """Return the content of the next item, and whether its length is undefined."""
        if self._tag() != ITEM:
            raise NotTakenApart("a sequence holds what is no item")
        length = self._number(4)
        if length != UNDEFINED:
            return False, self._take(length)
        begin = self._at
        while (tag := self._peek()) != ITEM_END:
            if tag >> 16 == 0xFFFE:
                raise NotTakenApart("an item ends in the wrong place")
            self.element()
        content = self._data[begin : self._at]
        self._take(8)
        return True, content

    def _element(self, tag: int, vr: str, value: bytes, *, undefined: bool = False) -> Element:
        big = self._order == ">"
        if big and vr in _UNITS:
            value = swapped(value, _UNITS[vr])
        return Element(tag, vr, value, undefined, big_endian=big)

    def _undefined(self, tag: int, vr: str) -> Element:
        """Read a value that a delimiter ends: items of a sequence, or fragments of an image."""
        begin = self._at
        if vr == "SQ":
            self._step_over_items(_Reader.item)
        elif vr == "UN":
            self._order, order = "<", self._order
            self._step_over_items(_Reader._implicit_item)
            self._order = order
        elif vr in {"OB", "OW"} and self._order == "<":
            self._step_over_items(_Reader._fragment)
        else:
            raise NotTakenApart(f"a value of {vr} has no length")
        value = self._data[begin : self._at]
        self._take(8)
        return self._element(tag, vr, value, undefined=True)

    def _step_over_items(self, step: Callable[[_Reader], object]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotTakenApart("its sequences are too deep")
        while self._peek() != SEQUENCE_END:
            step(self)
        self._depth -= 1

    def _fragment(self) -> None:
        if self._tag() != ITEM:
            raise NotTakenApart("fragments of an image are no items")
        self._take(self._number(4))

    def _implicit_item(self) -> None:
        if self._tag() != ITEM:
            raise NotTakenApart("a sequence holds what is no item")
        length = self._number(4)
        if length != UNDEFINED:
            self._take(length)
            return
        while self._peek() != ITEM_END:
            self._tag()
            length = self._number(4)
            if length == UNDEFINED:
                self._step_over_items(_Reader._implicit_item)
                length = 8
            self._take(length)
        self._take(8)

    def _length(self, vr: str) -> int:
        if vr not in _LONG:
            return self._number(2)
        self._take(2)
        return self._number(4)

    def _peek(self) -> int:
        at, tag = self._at, self._tag()
        self._at = at
        return tag

    def _tag(self) -> int:
        return self._number(2) << 16 | self._number(2)

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big" if self._order == ">" else "little")

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise NotTakenApart("it ends within an element")
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken


def swapped(value: bytes, unit: int) -> bytes:
    """Return numbers of so many bytes each in the other byte order.

    Raises:
        NotTakenApart: the value does not hold whole numbers.
    """
    if len(value) % unit:
        raise NotTakenApart("a value does not hold whole numbers")
    turned = bytearray(len(value))
    for place in range(unit):
        turned[place::unit] = value[unit - 1 - place :: unit]
    return bytes(turned)
