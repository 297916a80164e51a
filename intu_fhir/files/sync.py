"""Writing that is complete, and lasts through a power cut: files, directory entries, paths."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def sync(path: Path | str) -> None:
    """Put a file or a directory on disk (fsync)."""
    with opened(path) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[int]:
    """Give a descriptor of a file or a directory, to sync by."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_folders(root: Path, folder: Path) -> None:
    """Make ``folder`` below ``root``, with the directory entries on the way on disk.

    That a folder is there does not say that its entry is on disk: who made it may have crashed
    before the sync. So each one on the way is synced, whoever made it.

    Raises:
        OSError: an entry is not surely on disk; the folder of that entry is gone again.
    """
    path = root
    for part in folder.relative_to(root).parts:
        parent, path = path, path / part
        with opened(parent) as descriptor:  # older than the entry: it is told what becomes of it
            made = _make(path)
            try:
                os.fsync(descriptor)
            except OSError:
                # The next sync would succeed, whether this entry was lost or not.
                if made:
                    with contextlib.suppress(OSError):
                        path.rmdir()
                raise


def _make(folder: Path) -> bool:
    """Make a folder; False where it is there already."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def sync_way_to(path: Path) -> None:
    """Put the entries that lead to ``path`` on disk, from where its file system is mounted on.

    Whoever made these folders, an installer or this program at its first start, need not have
    done so. A folder that this user may not read was not made by this program; it is left out.

    Raises:
        OSError: the disk fails.
    """
    path = path.resolve()
    while not path.is_mount():
        path = path.parent
        with contextlib.suppress(PermissionError):
            sync(path)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``; one call may take only a part of it."""
    with memoryview(data) as rest:
        written = 0
        while written < len(rest):
            written += os.write(descriptor, rest[written:])


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can enter; one that is there stays as it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
