"""Writing that is complete, and lasts through a power cut: files, directory entries, paths."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Put a file or a directory on disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(root: Path, folder: Path) -> None:
    """Make ``folder`` below ``root``, with the directory entries on the way on disk.

    That a folder is there does not say that its entry is on disk: who made it may have crashed
    before the sync. So each one on the way is synced, whoever made it.
    """
    path = root
    for part in folder.relative_to(root).parts:
        path = path / part
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``; one call may take only a part of it."""
    with memoryview(data) as rest:
        written = 0
        while written < len(rest):
            written += os.write(descriptor, rest[written:])


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can enter; one that is there stays as it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
