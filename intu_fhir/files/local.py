"""Files in a local folder: written to a spool, then synced and renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.store import Spool, SpooledFile

_BUFFER = 1 << 20


@contextlib.contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    """Turn what the operating system says of the disk into our own error."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"{doing} failed: {reason}; free space or mend the disk") from error


class LocalSpool:
    """One object being written to ``incoming``; readable by its owner alone."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._path = path
        self._offset = len(head)
        self._size = 0
        self._digest = hashlib.sha256()
        self._open = True
        with _disk_errors("Opening a spool file"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb", buffering=_BUFFER)
        with self._removing_on_error("Writing a spool file"):
            self._file.write(head)

    @contextlib.contextmanager
    def _removing_on_error(self, doing: str) -> Iterator[None]:
        try:
            with _disk_errors(doing):
                yield
        except StoreUnavailable:
            self.discard()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append data set bytes."""
        self._digest.update(data)
        self._size += len(data)
        with self._removing_on_error("Writing a spool file"):
            self._file.write(data)

    def finish(self) -> SpooledFile:
        """Close and describe the complete object."""
        with self._removing_on_error("Closing a spool file"):
            self._file.close()
        self._open = False
        return SpooledFile(self._path, self._offset, self._size, self._digest.hexdigest())

    def discard(self) -> None:
        """Remove what was written."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                self._file.close()
        self._path.unlink(missing_ok=True)


class LocalFileStore:
    """A folder with ``incoming`` (spool), ``instances`` and ``quarantine``.

    Kept files stand in one folder per minute of arrival, so that one directory sync serves
    many files, no directory grows without end, and old data can be dropped by folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._instances = root / "instances"
        self._made: set[Path] = set()
        self._lock = threading.Lock()
        with _disk_errors(f"Making the file store {root}"):
            for folder in (root, self._incoming, self._instances, root / "quarantine"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open_spool(self, head: bytes) -> Spool:
        """Begin an object whose file starts with ``head``."""
        return LocalSpool(self._incoming / f"{uuid.uuid4().hex}.part", head)

    def keep(self, spooled: Path, received_at: datetime) -> str:
        """Make a spooled file durable under a new name and return that name."""
        return self._place(spooled, "instances", received_at)

    def quarantine(self, spooled: Path, received_at: datetime) -> str:
        """As ``keep``, in the part of the store that nothing is published from."""
        return self._place(spooled, "quarantine", received_at)

    def remove(self, name: str) -> None:
        """Remove a kept file."""
        with _disk_errors("Removing a file"):
            self.path(name).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Return where the file ``name`` can be read; names never lead outside the store."""
        path = self.root / name
        if ".." in path.parts or not path.is_relative_to(self.root):
            raise ValueError("a file name leads outside the file store")
        return path

    def open(self, name: str) -> BinaryIO:
        """Open the file ``name`` for reading."""
        with _disk_errors("Opening a stored file"):
            return self.path(name).open("rb")

    def free_bytes(self) -> int:
        """Return the space left to an ordinary user, in bytes."""
        with _disk_errors("Asking for free space"):
            return shutil.disk_usage(self.root).free

    def clear_incoming(self) -> int:
        """Remove what was being written when the last run ended; return how many files."""
        left = [path for path in self._incoming.iterdir() if path.suffix == ".part"]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def folders_since(self, since: datetime | None) -> list[Path]:
        """Return the folders that hold instances of ``since`` and later, or all of them."""
        folders = sorted(self._instances.glob("[0-9]*/[0-9]*/[0-9]*/[0-9]*"))
        if since is None:
            return folders
        earliest = self._instances / f"{since:%Y/%m/%d/%H%M}"
        return [folder for folder in folders if folder >= earliest]

    def _place(self, spooled: Path, part: str, received_at: datetime) -> str:
        name = f"{part}/{received_at:%Y/%m/%d/%H%M}/{uuid.uuid4().hex}.dcm"
        target = self.root / name
        with _disk_errors("Keeping a file"):
            self._make_folder(target.parent)
            _sync(spooled)
            spooled.rename(target)
            _sync(target.parent)
        return name

    def _make_folder(self, folder: Path) -> None:
        """Make a folder whose own directory entries are durable, once."""
        if folder in self._made:
            return
        with self._lock:
            missing = [f for f in (folder, *folder.parents) if not f.exists()]
            for new in reversed(missing):
                new.mkdir(mode=0o700, exist_ok=True)
                _sync(new.parent)
            if len(self._made) > 1_000:
                self._made.clear()
            self._made.add(folder)


def _sync(path: Path) -> None:
    """Put a file or a directory on disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
