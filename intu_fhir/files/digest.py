"""Whether a stored file still holds what was received."""

from __future__ import annotations

import hashlib
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
