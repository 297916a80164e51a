"""Pixel data on their way out: as they stand in the file, or decompressed frame by frame."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from intu_fhir.deliver.explicit_vr import UNDEFINED, NotConvertible, NotTakenApart, swapped
from intu_fhir.deliver.fragments import Fragments, Offsets
from intu_fhir.deliver.image_header import PIXEL_DATA, CompressedImage, Decode

MAX_PIXEL_BYTES = UNDEFINED - 1
"""Longest value that has a length (PS3.5 7.1.2)."""
_BLOCK_BYTES = 1 << 20
_UNITS = {"OB": 1, "OW": 2, "OF": 4, "OD": 8}
_OFFSETS, _OFFSET_LENGTHS, _TOTAL_LENGTH = 0x7FE00001, 0x7FE00002, 0x7FE00003
_MAX_TABLE_BYTES = 1 << 24
_GROUP = 0x7FE0


class PixelValue(Protocol):
    """A value of group 7FE0 as it is sent."""

    @property
    def tag(self) -> int:
        """Its tag."""

    @property
    def vr(self) -> str:
        """Its value representation."""

    @property
    def size(self) -> int:
        """Its length in bytes, which is even."""

    def blocks(self) -> Iterator[bytes]:
        """Give its bytes, once."""


@dataclass(frozen=True, slots=True)
class NativeValue:
    """A value that is not compressed.

    Args:
        unit: bytes whose order is turned; 1 = none.
    """

    file: BinaryIO
    tag: int
    vr: str
    begin: int
    size: int
    unit: int

    def blocks(self) -> Iterator[bytes]:
        """Give its bytes, once."""
        for begin in range(0, self.size, _BLOCK_BYTES):
            self.file.seek(self.begin + begin)
            block = self.file.read(min(_BLOCK_BYTES, self.size - begin))
            if not block:
                raise OSError("the file ends too early")
            yield swapped(block, self.unit) if self.unit > 1 else block


class DecodedValue:
    """A value that is decompressed; the first frame is at once, to see what it becomes.

    Raises:
        NotConvertible: it cannot be; also while frames are given.
        NotNow, Stopped: the decoding process was killed, or nobody waits any longer.
    """

    tag = PIXEL_DATA

    def __init__(self, found: CompressedImage, fragments: Fragments, decode: Decode) -> None:
        self.found, self._decode = found, decode
        self.size = found.pixel_bytes + found.pixel_bytes % 2
        if self.size > MAX_PIXEL_BYTES:
            raise NotConvertible("its pixel data would have 4 GiB or more")
        self._fragments = iter(fragments)
        self._first, self.colours = self._next()

    @property
    def vr(self) -> str:
        """Its value representation."""
        return self.found.pixel_vr

    def blocks(self) -> Iterator[bytes]:
        """Give its frames, once."""
        yield self._first
        self._first = b""
        for _ in range(1, self.found.frames):
            frame, colours = self._next()
            if colours != self.colours:
                raise NotConvertible("its frames have different colour spaces")
            yield frame
        if self.found.pixel_bytes % 2:
            yield b"\0"

    def _next(self) -> tuple[bytes, str]:
        frame = next(self._fragments, None)
        if frame is None:
            raise NotTakenApart("it has fewer frames than its header says")
        return self._decode(self.found.image, frame)


@dataclass(frozen=True, slots=True)
class PixelGroup:
    """Group 7FE0 of a file: native values, or the fragments of an image.

    Args:
        end: where the file goes on behind it.
    """

    native: list[NativeValue]
    fragments: Fragments | None
    end: int


def read_pixel_group(
    file: BinaryIO, begin: int, found: CompressedImage | None, *, big_endian: bool
) -> PixelGroup:
    """Read what a file holds in group 7FE0, but for the pixels themselves.

    Args:
        found: the image, where it is compressed.

    Raises:
        NotTakenApart: it cannot be read.
    """
    group = _GroupReader(file, begin, big_endian)
    while (head := group.head()) is not None:
        tag, vr, length = head
        if tag == PIXEL_DATA and found is not None:
            group.fragments(length, found.frames)
        elif found is not None:
            group.table(tag, length)
        else:
            group.value(tag, vr, length)
    return PixelGroup(group.native, group.found, group.at)


class _GroupReader:
    def __init__(self, file: BinaryIO, begin: int, big_endian: bool) -> None:
        self._file, self.at = file, begin
        self._order = ">" if big_endian else "<"
        self._size = file.seek(0, 2)
        self._tables: dict[int, bytes] = {}
        self.native: list[NativeValue] = []
        self.found: Fragments | None = None

    def head(self) -> tuple[int, str, int] | None:
        """Read what stands before the next value; None at the end of the group."""
        self._file.seek(self.at)
        head = self._file.read(12)
        if len(head) < 8 or struct.unpack_from(f"{self._order}H", head)[0] != _GROUP:
            return None
        group, number, name, short = struct.unpack_from(f"{self._order}HH2sH", head)
        vr = name.decode("latin-1")
        if vr in {"OB", "OW", "OF", "OD", "OV", "UN"} and len(head) == 12:
            self.at += 12
            return group << 16 | number, vr, struct.unpack_from(f"{self._order}I", head, 8)[0]
        self.at += 8
        return group << 16 | number, vr, short

    def value(self, tag: int, vr: str, length: int) -> None:
        """Take a value as it stands."""
        if vr not in _UNITS or length == UNDEFINED:
            if tag & 0xFFFF:
                raise NotTakenApart("its pixel data have no length, or are none")
        else:
            unit = _UNITS[vr] if self._order == ">" else 1
            self.native.append(NativeValue(self._file, tag, vr, self.at, length, unit))
        self._step(length)

    def table(self, tag: int, length: int) -> None:
        """Read what stands before compressed pixel data."""
        if length > _MAX_TABLE_BYTES:
            raise NotTakenApart("it has something in the place of its pixel data")
        if tag in {_OFFSETS, _OFFSET_LENGTHS}:
            self._tables[tag] = self._file.read(length)
        elif tag & 0xFFFF and tag != _TOTAL_LENGTH:
            raise NotTakenApart("it has something in the place of its pixel data")
        self._step(length)

    def fragments(self, length: int, frames: int) -> None:
        """Find the fragments of an image."""
        if length != UNDEFINED:
            raise NotTakenApart("its pixel data are not compressed, against its transfer syntax")
        self._file.seek(self.at)
        self.found = Fragments(self._file, frames, self._offsets())
        self.at = self.found.end

    def _offsets(self) -> Offsets | None:
        offsets = self._tables.get(_OFFSETS, b""), self._tables.get(_OFFSET_LENGTHS, b"")
        return offsets if all(offsets) else None

    def _step(self, length: int) -> None:
        self.at += length
        if self.at > self._size:
            raise NotTakenApart("it ends within an element")
