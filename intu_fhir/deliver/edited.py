"""A stored data set with some elements changed, made while it is read (PS3.5 section 7).

Only the elements of the first level that are named change. All other bytes are those of the file,
and are read from there a block at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, TypeAlias

from pydicom.filereader import data_element_generator
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from intu_fhir.errors import PermanentError

Changes: TypeAlias = Mapping[int, tuple[str, str] | None]
"""VR and value by tag; None = the element is left out."""
Piece: TypeAlias = bytes | tuple[int, int]
"""Bytes, or where they begin and end in the file."""

_PIXELS_BEGIN = 0x7FE00000
_NO_VALUES = 0
"""Values longer than this are stepped over."""
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    struct.error,
)
"""What pydicom raises for bytes that are no header."""


class NotEditable(PermanentError):
    """The elements of a data set cannot be told apart."""


class EditedDataSet:
    """A data set as it is sent; it reads like a file.

    Raises:
        NotEditable: it is deflated, or its header cannot be read.
        OSError: the file cannot be read.
    """

    def __init__(
        self, file: BinaryIO, offset: int, transfer_syntax_uid: str, changes: Changes
    ) -> None:
        self._file = file
        self._left = _pieces(file, offset, transfer_syntax_uid, changes)
        self.size = sum(_length(piece) for piece in self._left)
        self._left.reverse()

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer only at the end."""
        parts: list[bytes] = []
        while size and self._left:
            part = self._part(self._left.pop(), size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _part(self, piece: Piece, size: int) -> bytes:
        if isinstance(piece, bytes):
            part, rest = piece[:size], piece[size:]
            if rest:
                self._left.append(rest)
            return part
        begin, end = piece
        self._file.seek(begin)
        part = self._file.read(min(size, end - begin))
        if not part:
            raise OSError("the file ends too early")
        if begin + len(part) < end:
            self._left.append((begin + len(part), end))
        return part


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


def _pieces(file: BinaryIO, offset: int, transfer_syntax_uid: str, changes: Changes) -> list[Piece]:
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        raise NotEditable("it is deflated")
    size = file.seek(0, 2)
    file.seek(offset)
    elements = header_elements(file, offset, size, transfer_syntax_uid)
    pieces = _changed(elements, transfer_syntax_uid, changes)
    rest = elements[-1][2] if elements else offset
    return _joined([*pieces, (rest, size)])


def header_elements(
    file: BinaryIO, offset: int, size: int, transfer_syntax_uid: str
) -> list[tuple[int, int, int]]:
    """Return tag, begin and end of each element before the pixels, the last of a header."""
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    found, begin, pixels = [], offset, False

    def at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal pixels
        pixels = tag >= _PIXELS_BEGIN
        return pixels

    try:
        for one in data_element_generator(file, implicit, little, at_pixels, _NO_VALUES):
            found.append((int(one.tag), begin, file.tell()))
            begin = file.tell()
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # it is the disk's
        raise NotEditable("its header cannot be read") from error
    if begin > size or (begin < size and not pixels):
        raise NotEditable("its header cannot be read to its end")
    return found


def _changed(
    elements: Sequence[tuple[int, int, int]], transfer_syntax_uid: str, changes: Changes
) -> Iterator[Piece]:
    """Give the elements with the changes in their places, each once."""
    groups = {tag >> 16 for tag in changes}
    new = sorted((tag, change) for tag, change in changes.items() if change)
    for tag, begin, end in elements:
        while new and new[0][0] <= tag:
            number, change = new.pop(0)
            yield _encoded(number, *change, transfer_syntax_uid)
        is_length = not tag & 0xFFFF and tag >> 16 in groups
        if tag not in changes and not is_length:  # a group's length would be wrong now
            yield begin, end
    for number, change in new:
        yield _encoded(number, *change, transfer_syntax_uid)


def _encoded(tag: int, vr: str, value: str, transfer_syntax_uid: str) -> bytes:
    """Return an element whose VR has a short length (PS3.5 7.1.2, 7.1.3)."""
    content = value.encode("ascii")
    content += b" " * (len(content) % 2)
    group, number = tag >> 16, tag & 0xFFFF
    if transfer_syntax_uid == ImplicitVRLittleEndian:
        return struct.pack("<HHI", group, number, len(content)) + content
    order = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
    head = struct.pack(f"{order}HH2sH", group, number, vr.encode("ascii"), len(content))
    return head + content


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Put pieces of the file together that follow one another."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else b""
        if isinstance(piece, tuple) and isinstance(last, tuple) and last[1] == piece[0]:
            joined[-1] = (last[0], piece[1])
        else:
            joined.append(piece)
    return joined
