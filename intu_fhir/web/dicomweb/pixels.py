"""Where the frames of an image stand in its file (PS3.3 C.7.6.3, PS3.5 8)."""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.encaps import get_frame

from intu_fhir.db.image_files import Image
from intu_fhir.errors import InvalidDataSet, PermanentError
from intu_fhir.model.values import is_number
from intu_fhir.stage.elements import PIXEL_DATA, UNDEFINED, Element, walk
from intu_fhir.stage.encodings import (
    DEFLATED_SYNTAXES,
    Buffer,
    Encoding,
    Limits,
    open_data_set,
)

MAX_FRAME_BYTES = 256 * 1024**2
"""A larger frame is retrieved with its whole instance, which needs no memory."""

BIG_ENDIAN_PIXELS = frozenset({"1.2.840.10008.1.2.2", "1.2.840.113619.5.2"})
_FLOAT, _DOUBLE = 0x7FE00008, 0x7FE00009
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS = 0x00280010, 0x00280011, 0x00280100
_WANTED = frozenset(
    {_FLOAT, _DOUBLE, PIXEL_DATA, _OFFSETS, _LENGTHS}
    | {_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS, _BITS}
)
_DAMAGED = (ValueError, TypeError, IndexError, struct.error, EOFError)
"""What pydicom raises for fragments that are none."""


class NoFrames(PermanentError):
    """There are no pixel data, no such frame, or none that can be read."""


@dataclass(frozen=True)
class Opened:
    """A data set that is open for reading.

    Args:
        source: what is read from; the file, or what was inflated.
        base: where the data set begins in it.
        data_set: the same as a buffer.
    """

    source: BinaryIO
    base: int
    data_set: Buffer
    encoding: Encoding


@contextmanager
def data_set_of(file: BinaryIO, image: Image, limits: Limits) -> Iterator[Opened]:
    """Open the data set of a file without reading it.

    Raises:
        InvalidDataSet: it is deflated and damaged.
    """
    syntax = image.transfer_syntax_uid
    with (
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[image.data_set_offset :] as view,
    ):
        data_set, encoding = open_data_set(view, syntax, limits)
        if syntax in DEFLATED_SYNTAXES:
            yield Opened(BytesIO(data_set), 0, data_set, encoding)
        else:
            yield Opened(file, image.data_set_offset, data_set, encoding)


@dataclass(frozen=True)
class Pixels:
    """The pixel data of an image.

    Args:
        begin: of their value, in the source.
        length: of their value in bytes; None where they are in fragments.
        bits: of one frame that is not compressed.
        frames: how many there are.
        swap: bytes that stand in big endian order together; 1 = none.
    """

    begin: int
    length: int | None
    bits: int
    frames: int
    swap: int = 1
    extended: tuple[bytes, bytes] | None = None

    @property
    def is_encapsulated(self) -> bool:
        """Say whether they are in fragments."""
        return self.length is None

    def native(self, source: BinaryIO, number: int) -> bytes:
        """Return a frame in little endian order; frames are counted from 1.

        Raises:
            NoFrames: it is not there.
        """
        first, last = (number - 1) * self.bits, number * self.bits
        end = -(-last // 8)
        if not 1 <= number <= self.frames or self.length is None or end > self.length:
            raise NoFrames(f"There are {self.frames} frames")
        source.seek(self.begin + first // 8)
        read = source.read(end - first // 8)
        if first % 8 or last % 8:
            return _shifted(read, first % 8, self.bits)
        return swapped(read, self.swap)

    def stored(self, source: BinaryIO, number: int) -> bytes:
        """Return a frame compressed as it is.

        Raises:
            NoFrames: it is not there, or its fragments cannot be read.
        """
        if not 1 <= number <= self.frames:
            raise NoFrames(f"There are {self.frames} frames")
        source.seek(self.begin)
        try:
            return get_frame(
                source, number - 1, number_of_frames=self.frames, extended_offsets=self.extended
            )
        except _DAMAGED:
            raise NoFrames("The fragments of the pixel data cannot be told apart") from None


def _shifted(read: bytes, first: int, bits: int) -> bytes:
    """Return bits that begin within a byte, the lowest first (PS3.5 8.1.1)."""
    number = int.from_bytes(read, "little") >> first & ((1 << bits) - 1)
    return number.to_bytes(-(-bits // 8), "little")


def swapped(read: bytes, size: int) -> bytes:
    """Return words of so many bytes in the other order."""
    if size == 1:
        return read
    turned = bytearray(len(read))
    for place in range(size):
        turned[place::size] = read[size - 1 - place :: size]
    return bytes(turned)


def pixels_of(opened: Opened, image: Image, limits: Limits) -> Pixels:
    """Return where the pixel data are.

    Raises:
        NoFrames: there are none.
    """
    found: dict[int, Element] = {}
    with contextlib.suppress(InvalidDataSet):  # what comes before may still be whole
        walked = walk(opened.data_set, opened.encoding, limits, _WANTED)
        found.update((one.tag, one) for one in walked)
    element = next((found[t] for t in (PIXEL_DATA, _FLOAT, _DOUBLE) if t in found), None)
    if element is None:
        raise NoFrames("It has no pixel data")
    is_encapsulated = element.length == UNDEFINED
    pixels = Pixels(
        begin=opened.base + element.offset,
        length=None if is_encapsulated else element.length,
        bits=_bits(opened.data_set, found),
        frames=max(1, _number(opened.data_set, found.get(_FRAMES))),
        swap=_word(element, opened.data_set, found) if _is_swapped(image) else 1,
        extended=_extended(opened.data_set, found),
    )
    size = image.data_set_bytes // pixels.frames if is_encapsulated else pixels.bits // 8
    if size > MAX_FRAME_BYTES:
        raise NoFrames("Its frames are too large to be given one by one; retrieve the instance")
    return pixels


def _is_swapped(image: Image) -> bool:
    return image.transfer_syntax_uid in BIG_ENDIAN_PIXELS


def _bits(data_set: Buffer, found: Mapping[int, Element]) -> int:
    """Return the bits of a frame that is not compressed (PS3.3 C.7.6.3.1.2 for 4:2:2)."""
    rows, columns, bits = (_number(data_set, found.get(t)) for t in (_ROWS, _COLUMNS, _BITS))
    samples = max(1, _number(data_set, found.get(_SAMPLES)))
    is_halved = _text(data_set, found.get(_PHOTOMETRIC)) == "YBR_FULL_422"
    return rows * columns * bits * (2 if is_halved else samples)


def _word(element: Element, data_set: Buffer, found: Mapping[int, Element]) -> int:
    if element.tag != PIXEL_DATA:
        return 4 if element.tag == _FLOAT else 8
    bits = _number(data_set, found.get(_BITS))
    return 1 if element.vr == b"OB" or bits == 1 else max(2, bits // 8)


def _extended(data_set: Buffer, found: Mapping[int, Element]) -> tuple[bytes, bytes] | None:
    if _OFFSETS not in found or _LENGTHS not in found:
        return None
    return value_of(data_set, found[_OFFSETS]), value_of(data_set, found[_LENGTHS])


def value_of(data_set: Buffer, element: Element) -> bytes:
    """Return the bytes of a value."""
    return bytes(data_set[element.offset : element.offset + element.length])


def _text(data_set: Buffer, element: Element | None) -> str:
    return (
        ""
        if element is None
        else value_of(data_set, element).decode("ascii", "replace").strip(" \0")
    )


def _number(data_set: Buffer, element: Element | None) -> int:
    """Return a number written as US or IS; 0 where there is none."""
    if element is None:
        return 0
    if element.tag == _FRAMES:
        text = _text(data_set, element)
        return int(text) if is_number(text) else 0
    value = value_of(data_set, element)[:2]
    return int.from_bytes(value, "little" if element.little else "big")
