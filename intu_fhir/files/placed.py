"""A file that has its name in the store and is still to be synced, with its folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Self


class Placed:
    """Holds the descriptors by which a file and its folder are synced.

    The system reports a lost write once to each descriptor that was open when it happened, and
    perhaps to none that was opened later. So the file is synced by the descriptor that wrote it,
    and the folder by one of this file's own that is older than its entry. Then whoever is told of
    no error has lost nothing, whatever other threads and processes were told.

    Args:
        file: the descriptor that the file was written by; it is closed with this.
        folder: where the file is about to be renamed to.

    Raises:
        OSError: the folder cannot be opened.
    """

    def __init__(self, file: int, folder: str | Path) -> None:
        self._descriptors = [file]
        try:
            self._descriptors.append(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open a file that was complete and closed before."""
        return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path.parent)

    def sync(self) -> None:
        """Put content and directory entry on disk, and close both.

        Raises:
            OSError: it is not surely there.
        """
        with contextlib.closing(self):
            file, folder = self._descriptors
            self.sync_file(file)
            self.sync_folder(folder)

    @staticmethod
    def sync_file(descriptor: int) -> None:
        """Put the content on disk."""
        os.fsync(descriptor)

    @staticmethod
    def sync_folder(descriptor: int) -> None:
        """Put the entry on disk."""
        os.fsync(descriptor)

    def close(self) -> None:
        """Close both, synced or not; closing twice is fine."""
        while self._descriptors:
            with contextlib.suppress(OSError):  # what is lost was for the sync to say
                os.close(self._descriptors.pop())
