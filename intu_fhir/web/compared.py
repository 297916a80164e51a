"""Which stored files were found to be what was received, and when."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import BinaryIO, TypeAlias

TRUSTED_FOR = timedelta(minutes=10)
"""A file that was compared is not read again for each of its frames."""

_MOST = 50_000
Mark: TypeAlias = tuple[str, int, int, int]


def mark_of(sha256: str, file: BinaryIO) -> Mark:
    """Return what tells this very file with this digest from any other."""
    about = os.fstat(file.fileno())
    return sha256, about.st_size, about.st_mtime_ns, about.st_ino


class Compared:
    """Remembers the files of the last minutes."""

    def __init__(self) -> None:
        self._found: OrderedDict[Mark, datetime] = OrderedDict()
        self._lock = threading.Lock()

    def is_known(self, mark: Mark, now: datetime) -> bool:
        """Say whether a file was compared a short while ago."""
        with self._lock:
            found = self._found.get(mark)
        return found is not None and timedelta(0) <= now - found < TRUSTED_FOR

    def note(self, mark: Mark, now: datetime) -> None:
        """Remember that a file is what was received."""
        with self._lock:
            self._found.pop(mark, None)
            self._found[mark] = now
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
