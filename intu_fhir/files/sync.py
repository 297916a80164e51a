"""What makes a file, a directory entry or a whole path last through a power cut."""

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
