"""Data sets that are read where they are on disk.

A mapped file would cost as little, but a disk that fails to read then ends the process (SIGBUS),
and with it every other association.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from intu_fhir.stage.sources import Source


class FileSource(Source):
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
