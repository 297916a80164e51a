"""Data sets that are read where they are, some kilobytes at a time.

A mapped file would cost as little, but a disk that fails to read then ends the process (SIGBUS),
and with it every other association.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from intu_fhir.errors import InvalidDataSet, LimitPassed

_CHUNK = 1 << 18


class Source(Protocol):
    """A data set of ``size`` bytes."""

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end.

        Raises:
            OSError: the disk fails.
        """
        ...


class FileSource:
    """The data set in a file.

    Args:
        descriptor: of the open file; stays the caller's.
        begin: bytes before the data set.
        size: bytes of the data set.
    """

    def __init__(self, descriptor: int, begin: int, size: int) -> None:
        self._descriptor, self._begin, self.size = descriptor, begin, size
        self._kept, self._at = b"", 0

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; what was read last costs no call."""
        begin = offset - self._at
        if begin < 0 or begin + count > len(self._kept):
            self._kept, self._at, begin = self._from_disk(offset, count), offset, 0
        return self._kept[begin : begin + count]

    def _from_disk(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        return os.pread(self._descriptor, count, self._begin + offset) if count > 0 else b""


@contextlib.contextmanager
def opened_source(path: Path, begin: int, size: int) -> Iterator[FileSource]:
    """Open the data set that stands in a file behind ``begin`` bytes.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield FileSource(descriptor, begin, size)
    finally:
        os.close(descriptor)


class BytesSource:
    """A data set in memory."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content, self.size = content, len(content)

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``."""
        return bytes(self._content[offset : offset + count])


class Inflated:
    """A deflated data set (PS3.5 A.5) as it is once inflated; never whole in memory.

    It is read forwards: each ``offset`` is at least the one before. It is inflated once to learn
    its size, and once more while it is read.

    Args:
        max_bytes: what it may hold.

    Raises:
        InvalidDataSet: the stream is damaged or ends early.
        LimitPassed: it holds more than ``max_bytes``.
        OSError: the disk fails.
    """

    def __init__(self, deflated: Source, max_bytes: int) -> None:
        self.size = 0
        for chunk in inflating(deflated):
            self.size += len(chunk)
            check_size(self.size, max_bytes)
        self._chunks = inflating(deflated)
        self._kept, self._at = b"", 0

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; what stands before it is forgotten."""
        if offset + count > self._at + len(self._kept):
            self._go_on(offset, count)
        begin = offset - self._at
        return self._kept[begin : begin + count]

    def _go_on(self, offset: int, count: int) -> None:
        while self._at + len(self._kept) < offset + count and (chunk := next(self._chunks, b"")):
            gone = min(max(0, offset - self._at), len(self._kept))
            self._kept, self._at = self._kept[gone:] + chunk, self._at + gone


def inflating(deflated: Source) -> Iterator[bytes]:
    """Yield the pieces of a deflated data set as they are inflated (PS3.5 A.5).

    Raises:
        InvalidDataSet: the stream is damaged or ends early.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, deflated.size, _CHUNK):
            piece = deflated.read(start, _CHUNK)
            while not stream.eof and (chunk := stream.decompress(piece, _CHUNK)):
                piece = stream.unconsumed_tail
                yield chunk
    except zlib.error:
        raise InvalidDataSet("The deflated data set is damaged; send it again") from None
    if not stream.eof:
        raise InvalidDataSet("The deflated data set ends early; send it again")


def check_size(size: int, max_bytes: int) -> None:
    """Refuse to inflate more than ``max_bytes``.

    Raises:
        LimitPassed: ``size`` is more.
    """
    if size > max_bytes:
        raise LimitPassed(
            f"The deflated data set holds more than {max_bytes} bytes; "
            "raise receiver.max_inflated_bytes if that is wanted",
            "max_inflated_bytes",
        )
