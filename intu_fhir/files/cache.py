"""Copies of stored objects on this machine's disk, as many as fit; several processes share them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from intu_fhir.files.sync import make_private

_LOOK_AGAIN = 20
"""The folder is looked through after so many parts of its limit have come in."""


class Cache:
    """A folder of copies that never grows much beyond a limit; the oldest go first.

    A copy appears complete or not at all, and whoever has opened one keeps it: a copy that goes
    meanwhile stays readable until it is closed.

    Args:
        limit_bytes: 0 = nothing stays.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._came_in = limit_bytes  # so that the first copy looks at what is there
        self._turn = threading.Lock()
        make_private(folder)

    def open(self, name: str, fetch: Callable[[BinaryIO], int]) -> BinaryIO:
        """Open the copy of ``name``; without one, ``fetch`` writes it and returns its size.

        Raises:
            OSError: the disk fails.
        """
        try:
            return self._path(name).open("rb")
        except FileNotFoundError:
            return self._fetched(name, fetch)

    def take(self, file: Path, name: str) -> None:
        """Make a file of the same disk the copy of ``name``, or remove it."""
        size = file.stat().st_size
        if size > self._limit:
            file.unlink(missing_ok=True)
            return
        file.rename(self._path(name))
        self._make_room(size)

    def drop(self, name: str) -> None:
        """Remove the copy of ``name``, if there is one."""
        self._path(name).unlink(missing_ok=True)

    def _fetched(self, name: str, fetch: Callable[[BinaryIO], int]) -> BinaryIO:
        copy = unnamed_file(self._folder)
        try:
            size = fetch(copy)
            copy.flush()
            copy.seek(0)
            if size <= self._limit and _give_name(copy, self._path(name)):
                self._make_room(size)
        except BaseException:
            copy.close()
            raise
        return copy

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

    def _make_room(self, size: int) -> None:
        with self._turn:
            self._came_in += size
            if self._came_in * _LOOK_AGAIN < self._limit:
                return
            self._came_in = 0
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    about = entry.stat()
                    found.append((about.st_mtime_ns, about.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit:
                return
            Path(path).unlink(missing_ok=True)
            total -= size


def unnamed_file(folder: Path) -> BinaryIO:
    """Open a new file that has no name, so that nothing of it is left whatever happens."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is not None:
        with contextlib.suppress(OSError):  # not every file system can
            descriptor = os.open(folder, flag | os.O_RDWR | os.O_CLOEXEC, 0o600)
            return os.fdopen(descriptor, "w+b")
    return tempfile.TemporaryFile(dir=folder)


def _give_name(file: BinaryIO, path: Path) -> bool:
    """Let an unnamed file be seen; False where this system or its disk cannot do so."""
    try:
        descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Only with a directory's descriptor is the link followed (linkat, AT_SYMLINK_FOLLOW).
        os.link(f"{file.fileno()}", path, src_dir_fd=descriptors, follow_symlinks=True)
    except FileExistsError:
        return True  # another thread has brought the same copy
    except OSError:
        return False
    finally:
        os.close(descriptors)
    return True
