"""Data sets that are read some kilobytes at a time, and those that are deflated."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from intu_fhir.errors import InvalidDataSet, LimitPassed

_CHUNK = 1 << 18


class Source:
    """A data set of ``size`` bytes."""

    size: int

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end.

        Raises:
            OSError: the disk fails.
        """
        raise NotImplementedError


class BytesSource(Source):
    """A data set in memory."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content, self.size = content, len(content)

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``."""
        return bytes(self._content[offset : offset + count])


class Inflated(Source):
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
