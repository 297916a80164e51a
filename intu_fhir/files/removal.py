"""Files that go: removed durably, never while a backup is made; and what is there at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from intu_fhir.files.sync import sync

_LOCK = "removing.lock"


def remove_files(root: Path, files: Collection[tuple[str, Path]]) -> bool:
    """Remove files and sync their folders; False while somebody keeps them.

    Args:
        files: each with its name in the store.

    Raises:
        OSError: the disk fails; what was removed may come back after a crash.
    """
    with _lock(root, fcntl.LOCK_EX | fcntl.LOCK_NB) as ours:
        if not ours:
            return False
        for _, path in files:
            path.unlink(missing_ok=True)
        for folder in sorted({path.parent for _, path in files}):
            with contextlib.suppress(FileNotFoundError):
                sync(folder)
        _remove_empty_folders(root, {name.rpartition("/")[0] for name, _ in files})
    return True


@contextlib.contextmanager
def keep_files(root: Path) -> Iterator[None]:
    """Let ``remove_files`` wait, in every process, until the context ends."""
    with _lock(root, fcntl.LOCK_SH):
        yield


def names_below(root: Path, folder: str) -> Iterator[str]:
    """Give the names of all files below a folder of the store, sorted by code point.

    A folder counts as its name with ``/`` behind it, so that names come in the order in which
    a database sorts them.
    """
    with os.scandir(root / folder) as found:
        entries = sorted((f"{one.name}/" if one.is_dir() else one.name) for one in found)
    for entry in entries:
        if entry.endswith("/"):
            with contextlib.suppress(FileNotFoundError):
                yield from names_below(root, f"{folder}/{entry[:-1]}")
        else:
            yield f"{folder}/{entry}"


def _remove_empty_folders(root: Path, folders: Collection[str]) -> None:
    """Remove folders of days that are over, where nothing is left in them."""
    # Those of today may be in use: between the making of a folder and its first file.
    today = f"{datetime.now(UTC) - timedelta(days=1):%Y/%m/%d}"
    for folder in folders:
        part, *levels = folder.split("/")
        if "/".join(levels[:3]) >= today:
            continue
        for depth in range(len(levels), 0, -1):
            try:
                root.joinpath(part, *levels[:depth]).rmdir()
            except OSError:
                break


@contextlib.contextmanager
def _lock(root: Path, how: int) -> Iterator[bool]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(root / _LOCK, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
