"""Files in a local folder: written to a spool, then synced and renamed into place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import uuid
import weakref
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.digest import blocks_of, data_set_digest
from intu_fhir.files.leftovers import Leftovers
from intu_fhir.files.placed import Placed
from intu_fhir.files.removal import keep_files, names_below, remove_files
from intu_fhir.files.store import Openable, Spool, SpooledFile
from intu_fhir.files.sync import make_folders, sync_way_to, write_all
from intu_fhir.files.writers import Abandoned, Writer, abandoned

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_GATHER_BYTES = 1 << 16
"""What is shorter waits for more before it is written; what is longer is not copied."""


@contextlib.contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    """Turn what the operating system says of the disk into our own error."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"{doing} failed: {reason}; free space or mend the disk") from error


class LocalSpool:
    """One object being written to ``incoming``; readable by its owner alone.

    It stays open until its file is placed or discarded: what the disk did not take is told to the
    descriptor that wrote it, and perhaps to none that is opened later.
    """

    def __init__(self, path: str, head: bytes, leftovers: Leftovers) -> None:
        self._path, self._leftovers = path, leftovers
        self._offset = len(head)
        self._size = 0
        self._digest = hashlib.sha256()
        self._waiting = bytearray(head)
        self._descriptor = -1
        with _disk_errors("Opening a spool file"):
            self._descriptor = os.open(path, _NEW, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Append data set bytes."""
        self._digest.update(data)
        self._size += len(data)
        if len(self._waiting) + len(data) <= _GATHER_BYTES:
            self._waiting += data
            return
        with self._removing_on_error("Writing a spool file"):
            self._flush()
            write_all(self._descriptor, data)

    def finish(self) -> SpooledFile:
        """Describe the complete object."""
        is_short = len(self._waiting) == self._offset + self._size
        data_set = bytes(memoryview(self._waiting)[self._offset :]) if is_short else None
        with self._removing_on_error("Writing a spool file"):
            self._flush()
        sha256 = self._digest.hexdigest()
        return SpooledFile(Path(self._path), self._offset, self._size, sha256, data_set, self)

    def take(self) -> int:
        """Hand the descriptor over to whoever syncs the file."""
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def discard(self) -> None:
        """Remove what was written; what cannot be removed now is removed later."""
        self._close()
        with contextlib.suppress(OSError):
            self._leftovers.remove(self._path)

    def __del__(self) -> None:
        self._close()

    def _flush(self) -> None:
        write_all(self._descriptor, self._waiting)
        self._waiting = bytearray()

    def _close(self) -> None:
        descriptor = self.take()
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    @contextlib.contextmanager
    def _removing_on_error(self, doing: str) -> Iterator[None]:
        try:
            with _disk_errors(doing):
                yield
        except StoreUnavailable:
            self.discard()
            raise


class LocalFileStore:
    """A folder with ``incoming`` (spool), ``instances`` and ``quarantine``.

    Kept files stand in one folder per minute of arrival, so that one directory sync serves
    many files, no directory grows without end, and old data can be dropped by folder.
    """

    here = spool = ""
    at_once = 1
    """How many files are best read at the same time."""

    def __init__(self, root: Path) -> None:
        self.root, self._root = root, str(root)
        self._incoming = root / "incoming"
        self._writers = root / "writers"
        self._writer = Writer(self._writers)
        self._spools: weakref.WeakValueDictionary[str, LocalSpool] = weakref.WeakValueDictionary()
        self._placed: dict[str, Placed] = {}
        self._leftovers = Leftovers()
        self._made: set[str] = set()
        self._has_way = False
        self._lock = threading.Lock()
        with _disk_errors(f"Making the file store {root}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("incoming", "instances", "quarantine", "writers"):
                (root / name).mkdir(mode=0o700, exist_ok=True)

    def enter(self) -> None:
        """Show that this process writes here, from now until ``close``."""
        with _disk_errors("Entering the file store"):
            if not self._has_way:
                sync_way_to(self._incoming)
                self._has_way = True
            self._writer.enter()

    def open_spool(self, head: bytes) -> Spool:
        """Begin an object whose file starts with ``head``."""
        self._leftovers.clear()
        self.enter()
        name = self._new_name()
        spool = LocalSpool(f"{self._incoming}/{name}.part", head, self._leftovers)
        self._spools[name] = spool
        return spool

    def place(self, spooled: Path, received_at: datetime) -> str:
        """Give a spooled file its name in the store; not durable yet."""
        return self._place(spooled, "instances", received_at)

    def make_durable(self, name: str) -> None:
        """Put a placed file and its directory entry on disk."""
        with _disk_errors("Keeping a file"):
            try:
                # After the rename: the file system's journal is then written once for both.
                (self._placed.pop(name, None) or Placed.at(self.path(name))).sync()
            except OSError:
                self._take_back(name)
                raise

    def quarantine(self, spooled: Path, received_at: datetime) -> str:
        """As ``place`` and ``make_durable``, in the part that nothing is published from."""
        name = self._place(spooled, "quarantine", received_at)
        self.make_durable(name)
        return name

    def confirm(self, name: str) -> None:
        """Note that a row speaks of the file ``name``."""
        self._writer.end(name)

    def moved(self, name: str) -> bool:
        """Note that the file ``name`` has another name now."""
        self._writer.removed(name)
        return True

    def stands(self, name: str) -> bool:
        """Say whether a file that was made durable just now is still there."""
        return os.path.exists(f"{self._root}/{name}")

    def remove(self, name: str) -> None:
        """Remove a kept file."""
        if placed := self._placed.pop(name, None):
            placed.close()
        with _disk_errors("Removing a file"):
            self._leftovers.remove(str(self.path(name)), lambda: self._writer.removed(name))

    def remove_all(self, names: Collection[str]) -> bool:
        """Remove kept files for good; False while ``keeping`` forbids it."""
        self.ask()  # what cannot be seen would count as gone
        with _disk_errors("Removing files"):
            return remove_files(self.root, [(name, self.path(name)) for name in names])

    def keeping(self) -> contextlib.AbstractContextManager[None]:
        """Let ``remove_all`` of every process wait until the context ends."""
        return keep_files(self.root)

    def names(self) -> Iterator[str]:
        """Give the name of every kept file, sorted by code point."""
        for part in ("instances", "quarantine"):
            yield from names_below(self.root, part)

    def spooled_names(self) -> Iterator[str]:
        """Give the name of every kept file that is on this machine, sorted by code point."""
        return self.names()

    def path(self, name: str) -> Path:
        """Return where the file ``name`` can be read; names never lead outside the store."""
        path = self.root / name
        if ".." in path.parts or not path.is_relative_to(self.root):
            raise ValueError("a file name leads outside the file store")
        return path

    def file(self, name: str) -> Openable:
        """Return what opens the file ``name``."""
        return self.path(name)

    def recovered(self, names: Collection[str]) -> None:
        """Take note of files that a dead process left and a row speaks of: they stay."""

    def open(self, name: str) -> BinaryIO:
        """Open the file ``name`` for reading."""
        with _disk_errors("Opening a stored file"):
            return self.path(name).open("rb")

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the very bytes that are stored, a mebibyte or so at a time.

        Raises:
            FileNotFoundError: they are gone.
            OSError: the disk fails.
            NotHereYet: they wait on another machine.
            StoreUnavailable: they cannot be had now.
            DamagedFile: they are not those that were stored.
        """
        yield from blocks_of(self.path(name).open("rb"))

    def has(self, name: str) -> bool:
        """Say whether a file is there; errors as with ``blocks``."""
        return self.path(name).is_file()

    def holds(self, name: str, data_set_offset: int, sha256: str) -> bool:
        """Say whether the very data set is surely here; whatever fails, it is not sure."""
        try:
            with self.path(name).open("rb") as file:
                return data_set_digest(file, data_set_offset) == sha256
        except OSError:
            return False

    def ask(self) -> None:
        """Make sure that the store is there: a folder on which its disk is mounted may be empty.

        Raises:
            StoreUnavailable: it is not.
        """
        try:
            os.stat(f"{self._root}/instances")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StoreUnavailable(
                f"The file store {self.root} is not there ({reason}); mount its disk"
            ) from error

    def free_bytes(self) -> int:
        """Return the space left to an ordinary user, in bytes.

        Raises:
            StoreUnavailable: the file system does not answer, or is read-only, as a kernel makes it
                whose disk fails.
        """
        with _disk_errors("Asking for free space"):
            found = os.statvfs(self.root)
            if found.f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return found.f_bavail * found.f_frsize

    @contextlib.contextmanager
    def abandoned(self) -> Iterator[tuple[Abandoned, list[Path]]]:
        """Give what writers that have ended left: kept files without a row, and spool files."""
        with _disk_errors("Recovering"), abandoned(self._writers, self._incoming) as left:
            yield left

    def waits_for_row(self, name: str) -> bool:
        """Say whether this process keeps the file ``name`` and no row speaks of it yet."""
        return self._writer.is_open(name)

    def without_row(self) -> int:
        """Return how many files of this process wait for their row."""
        return self._writer.open_files()

    def close(self) -> None:
        """Say that this process writes no more; what it left without a row is found by others."""
        with contextlib.suppress(StoreUnavailable):
            self._leftovers.clear()
        while self._placed:
            self._placed.popitem()[1].close()
        self._writer.leave()

    def _new_name(self) -> str:
        return f"{self._writer.name}-{uuid.uuid4().hex}"

    def _place(self, spooled: Path, part: str, received_at: datetime) -> str:
        folder = f"{part}/{received_at:%Y/%m/%d/%H%M}"
        name = f"{folder}/{spooled.stem}.dcm"  # a name that no other file has
        with _disk_errors("Keeping a file"):
            self._make_folder(folder)
            placed = self._open(spooled, f"{self._root}/{folder}")
            try:
                self._writer.begin(name)
                os.rename(spooled, f"{self._root}/{name}")
            except OSError:
                placed.close()
                self._writer.end(name)
                raise
        self._placed[name] = placed
        return name

    def _open(self, spooled: Path, folder: str) -> Placed:
        """Take over the descriptor of a spool file; one that was closed is opened again."""
        spool = self._spools.pop(spooled.stem, None)
        file = spool.take() if spool is not None else -1
        if file < 0:
            file = os.open(spooled, os.O_RDONLY | os.O_CLOEXEC)
        return Placed(file, folder)

    def _take_back(self, name: str) -> None:
        """Remove a file that is there but not surely so; what fails here is left to ``recover``."""
        with contextlib.suppress(StoreUnavailable):
            self.remove(name)

    def _make_folder(self, folder: str) -> None:
        """See to a folder whose own directory entries are durable; it is made once."""
        if folder not in self._made:
            with self._lock:
                make_folders(self.root, self.root / folder)
                if len(self._made) > 1_000:
                    self._made.clear()
                self._made.add(folder)
