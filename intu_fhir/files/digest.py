"""Whether a stored file still holds what was received."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

_BLOCK = 1 << 20


def data_set_digest(file: BinaryIO, data_set_offset: int) -> str:
    """Return the SHA-256 of what stands in a file from an offset on, as hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    file.seek(data_set_offset)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def digest_of_blocks(blocks: Iterable[bytes], data_set_offset: int) -> str:
    """Return the same of a file that comes in blocks."""
    digest, before = hashlib.sha256(), data_set_offset
    for block in blocks:
        digest.update(memoryview(block)[before:])
        before = max(before - len(block), 0)
    return digest.hexdigest()


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield what an open file holds, and close it.

    Raises:
        OSError: it cannot be read.
    """
    with file:
        while block := file.read(_BLOCK):
            yield block
