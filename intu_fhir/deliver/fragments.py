"""Frames of encapsulated pixel data, read from a file one after the other (PS3.5 annex A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from pydicom.encaps import generate_frames

from intu_fhir.deliver.explicit_vr import ITEM, SEQUENCE_END, NotTakenApart
from intu_fhir.deliver.image import MAX_FRAME_BYTES

_ITEM_HEAD = struct.Struct("<HHI")
Offsets = tuple[bytes, bytes]
"""Extended Offset Table and Extended Offset Table Lengths (PS3.3 C.7.6.3.1.8)."""


class Fragments:
    """The pixel data of one image, which begin where the file stands.

    Raises:
        NotTakenApart: they are no fragments, or a frame of them is too large to be read.
    """

    def __init__(self, file: BinaryIO, frames: int, offsets: Offsets | None = None) -> None:
        self._file, self._begin = file, file.tell()
        self._size = file.seek(0, 2)
        self._frames, self._offsets = frames, offsets
        lengths = [length for _, length in self._items()]
        self.end = file.tell()
        count, total = len(lengths) - 1, sum(lengths[1:])
        if count < max(frames, 1):
            raise NotTakenApart(f"it has {max(count, 0)} fragments for {frames} frames")
        self._one_each = count == frames
        if (max(lengths) if self._one_each else total) > MAX_FRAME_BYTES:
            raise NotTakenApart(f"a frame may be larger than {MAX_FRAME_BYTES >> 20} MiB")

    def __iter__(self) -> Iterator[bytes]:
        """Give the frames, each as its decoder wants it.

        Raises:
            NotTakenApart: the fragments cannot be told apart by frame.
            OSError: the file cannot be read.
        """
        if self._one_each:
            return self._each()
        return self._joined()

    def _each(self) -> Iterator[bytes]:
        for number, (position, length) in enumerate(self._items()):
            if number:  # the first is the Basic Offset Table
                self._file.seek(position)
                yield self._file.read(length)

    def _joined(self) -> Iterator[bytes]:
        self._file.seek(self._begin)
        try:
            yield from generate_frames(
                self._file, number_of_frames=self._frames, extended_offsets=self._offsets
            )
        except (ValueError, LookupError, struct.error, EOFError, AttributeError):
            raise NotTakenApart("its fragments cannot be told apart by frame") from None

    def _items(self) -> Iterator[tuple[int, int]]:
        """Give where each item begins, and how long it is; the file stands behind them then."""
        self._file.seek(self._begin)
        while True:
            head = self._file.read(_ITEM_HEAD.size)
            if not head:
                return  # some leave out the delimiter at the end of the file
            if len(head) < _ITEM_HEAD.size:
                raise NotTakenApart("its pixel data end within a fragment")
            group, number, length = _ITEM_HEAD.unpack(head)
            if group << 16 | number == SEQUENCE_END:
                return
            if group << 16 | number != ITEM:
                raise NotTakenApart("its pixel data hold what is no fragment")
            position = self._file.tell()
            yield position, length
            if self._file.seek(position + length) > self._size:
                raise NotTakenApart("its pixel data end within a fragment")
