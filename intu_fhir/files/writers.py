"""Who writes into a file store, and what a crash may have left of it without a row.

Every process that writes has a name, which is in the name of each of its files, and an entry
``writers/<name>`` that it keeps locked while it lives. The entry lists the folders in which files
of this writer may stand that no row speaks of yet. So after a crash the leftovers are found
without looking at the rest of the store, without trusting any clock, and while others write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path

from intu_fhir.files.removal import names_below
from intu_fhir.files.sync import sync, write_all

_FOLDER = re.compile(r"(instances|quarantine)(/[0-9-]+)+")
"""What an entry may list."""


class Writer:
    """One process's hand in a file store; its entry is made with the first thing it writes."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex[:12]
        self._folder = folder
        self._lock = threading.Lock()
        self._listed: frozenset[str] = frozenset()
        self._open: dict[str, str] = {}
        self._emptied: set[str] = set()
        self._let_go: weakref.finalize[[int], Writer] | None = None

    def enter(self) -> None:
        """Make sure that the entry is there."""
        if self._let_go is None:
            with self._lock:
                if self._let_go is None:
                    self._list(frozenset())

    def begin(self, name: str) -> None:
        """Note, durably, that the file ``name`` may soon be there without a row.

        Raises:
            OSError: that is not sure; the file must not be made, and ``end`` follows.
        """
        folder = name.rpartition("/")[0]
        with self._lock:
            self._open[name] = folder
            if folder not in self._listed:
                self._list(self._unsettled())

    def end(self, name: str) -> None:
        """Note that a row speaks of the file ``name``, or that it never was there."""
        with self._lock:
            self._open.pop(name, None)

    def removed(self, name: str) -> None:
        """Note that the file ``name`` is gone; after a power cut it may be there again."""
        with self._lock:
            folder = self._open.pop(name, None)
            if folder is not None:
                self._emptied.add(folder)

    def is_open(self, name: str) -> bool:
        """Say whether a file has no row yet."""
        return name in self._open

    def open_files(self) -> int:
        """Return how many files have no row yet."""
        return len(self._open)

    def leave(self) -> None:
        """Give the entry up; it goes, unless files without a row are left."""
        with self._lock:
            if self._let_go is None:
                return
            if not self._unsettled():
                with contextlib.suppress(OSError), _one_at_a_time(self._folder):
                    (self._folder / self.name).unlink()
            self._let_go()
            self._let_go, self._listed = None, frozenset()

    def _unsettled(self) -> frozenset[str]:
        """Return the folders that have to stay listed.

        Removals are synced here, once for all of a folder, when nothing else keeps it listed.
        """
        folders = set(self._open.values())
        for folder in self._emptied - folders:
            try:
                _sync_if_there(self._folder.parent / folder)
            except OSError:
                folders.add(folder)
            else:
                self._emptied.discard(folder)
        return frozenset(folders)

    def _list(self, folders: frozenset[str]) -> None:
        """Replace the entry by one that lists ``folders``, locked before it can be seen."""
        new = self._folder / f"{self.name}.new"
        with _one_at_a_time(self._folder) as entries:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                write_all(descriptor, "".join(f"{one}\n" for one in sorted(folders)).encode())
                os.fsync(descriptor)
                new.rename(self._folder / self.name)
            except OSError:
                with contextlib.suppress(OSError):
                    new.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            self._keep(descriptor)
            # Until the sync says so, only what both entries list is surely listed.
            self._listed &= folders
            os.fsync(entries)  # by a descriptor that is older than the entry
        self._listed = folders

    def _keep(self, descriptor: int) -> None:
        """Hold the lock of the entry that can be seen now, whatever follows."""
        if self._let_go is not None:
            self._let_go()
        self._let_go = weakref.finalize(self, os.close, descriptor)


class Abandoned:
    """What writers that have ended left behind, and what of it stays.

    Args:
        folders: by folder, the writers whose files may stand there without a row.
        alive: names of the writers that still write.
        anywhere: writers whose entries cannot be read, so that their files may stand in any folder.
    """

    def __init__(
        self,
        folders: dict[str, set[str]],
        alive: frozenset[str],
        anywhere: frozenset[str] = frozenset(),
    ) -> None:
        self.folders = folders
        self.alive = alive
        self.anywhere = anywhere
        self._staying: set[str] = set()

    def stays(self, name: str) -> None:
        """Note that a file could not be removed: its writer stays listed, for the next look."""
        self._staying.add(writer_of(name.rpartition("/")[2]))

    def is_settled(self, writer: str) -> bool:
        """Say whether nothing is left of a writer."""
        return writer not in self._staying

    def files(self, root: Path) -> Iterator[str]:
        """Give the name of every kept file that may have no row."""
        if self.anywhere:
            for part in ("instances", "quarantine"):
                for name in names_below(root, part):
                    if writer_of(name.rpartition("/")[2]) in self.anywhere:
                        yield name
        for folder, writers in sorted(self.folders.items()):
            with contextlib.suppress(FileNotFoundError):
                for path in sorted((root / folder).iterdir()):
                    if writer_of(path.name) in writers:
                        yield f"{folder}/{path.name}"


@contextlib.contextmanager
def abandoned(folder: Path, spooled: Path) -> Iterator[tuple[Abandoned, list[Path]]]:
    """Give what ended writers left, and their spool files; their entries go at the end.

    Who is inside holds the entries' locks, so that nobody else looks after the same leftovers.
    """
    with contextlib.ExitStack() as stack:
        ended: dict[str, set[str]] = {}
        with _one_at_a_time(folder):
            entries = [path for path in folder.iterdir() if path.suffix != ".new"]
            dead = [path for path in entries if _take_over(path, stack)]
            alive = frozenset(path.name for path in entries) - {path.name for path in dead}
            left = [path for path in spooled.iterdir() if writer_of(path.name) not in alive]
            unfinished = [p for p in folder.iterdir() if p.suffix == ".new"]
            remains = [path for path in unfinished if path.stem not in alive]
        garbled = set()
        for path in dead:
            folders = _folders_in(path)
            if folders is None:
                garbled.add(path.name)
            for line in folders or ():
                ended.setdefault(line, set()).add(path.name)
        found = Abandoned(ended, alive, frozenset(garbled))
        yield found, left
        try:
            for listed in sorted(ended):
                _sync_if_there(folder.parent / listed)
        except OSError:
            return  # what was removed may come back after a power cut, so it stays listed
        for path in (*dead, *remains):
            if found.is_settled(path.stem):
                path.unlink(missing_ok=True)


def _folders_in(entry: Path) -> list[str] | None:
    """Return the folders that an entry lists; None where a disk has made something else of it."""
    try:
        lines = entry.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return lines if all(map(_FOLDER.fullmatch, lines)) else None


def somebody_writes(folder: Path) -> bool:
    """Say whether a process that writes is alive; ``folder`` is that of the entries.

    An entry that its writer replaces between two looks would be found unlocked.
    """
    with contextlib.suppress(OSError), _one_at_a_time(folder):
        # One that is being made must find itself unlocked.
        return any(_is_locked(entry) for entry in folder.iterdir() if entry.suffix != ".new")
    return False


def _is_locked(entry: Path) -> bool:
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # it has ended meanwhile
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def writer_of(file_name: str) -> str:
    """Return the name of the writer of a file."""
    return file_name.partition("-")[0]


def _take_over(entry: Path, stack: contextlib.ExitStack) -> bool:
    """Lock the entry of a writer that has ended; False where it lives."""
    descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    stack.callback(os.close, descriptor)
    return True


def _sync_if_there(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        sync(folder)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[int]:
    """Keep entries from being made while others look at them; held for moments only.

    Gives the descriptor of the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
