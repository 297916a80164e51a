"""What every file store can do; ``local`` is the default one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A complete object that waits in the spool, not yet durable.

    Args:
        path: the spool file.
        data_set_offset: bytes before the data set.
        size: bytes of the data set.
        sha256: hex digest of the data set.
        data_set: the data set itself, where it is short and still at hand.
        spool: keeps the file open until it is placed; see ``placed``.
    """

    path: Path
    data_set_offset: int
    size: int
    sha256: str
    data_set: bytes | None = None
    spool: Spool | None = None


class Spool(Protocol):
    """An object on its way in, written as it arrives."""

    def write(self, data: bytes | memoryview) -> None:
        """Append data set bytes.

        Raises:
            StoreUnavailable: the disk is full or fails.
        """
        ...

    def finish(self) -> SpooledFile:
        """Close and describe the complete object."""
        ...

    def discard(self) -> None:
        """Remove what was written; safe to call at any time, also twice."""
        ...


class Openable(Protocol):
    """Something that opens a stored file for reading; ``Path`` is one."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open it.

        Raises:
            FileNotFoundError: it is gone.
            OSError: a disk fails.
            StoreUnavailable: it cannot be had now.
            DamagedFile: its bytes are not those that were stored.
        """
        ...


class FileStore(Protocol):
    """Keeps Part 10 files under names of our own making."""

    here: str
    """Name of the folder in which files wait for their upload; empty where none ever does."""

    spool: str
    """The same where a kept file waits there after its row; empty where it does not."""

    def open_spool(self, head: bytes) -> Spool:
        """Begin an object whose file starts with ``head`` (see ``part10.part10_head``)."""
        ...

    def place(self, spooled: Path, received_at: datetime) -> str:
        """Give a spooled file its name in the store and return it; nothing is durable yet.

        Follow with ``make_durable``, then with ``confirm`` once a row speaks of it, or with
        ``remove``: what has neither when the process ends is removed by ``recover`` unless a
        row is found.

        Raises:
            StoreUnavailable: the disk is full or fails.
        """
        ...

    def make_durable(self, name: str) -> None:
        """Put a placed file's content and its directory entry on disk.

        Raises:
            StoreUnavailable: the disk is full or fails; the file is gone.
        """
        ...

    def quarantine(self, spooled: Path, received_at: datetime) -> str:
        """As ``place`` and ``make_durable``, where nothing is published from."""
        ...

    def confirm(self, name: str) -> None:
        """Note that a row speaks of the file ``name`` now."""
        ...

    def moved(self, name: str) -> bool:
        """Note that the file ``name`` went to quarantine, under another name.

        Returns:
            False where bytes are left under the old name, which are still to be removed.
        """
        ...

    def stands(self, name: str) -> bool:
        """Say whether a file that was made durable just now is still there.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a kept file; one that is gone already is fine."""
        ...

    def remove_all(self, names: Collection[str]) -> bool:
        """Remove kept files; on return they are gone for good, whatever happens to the machine.

        Returns:
            False where nothing may be removed now, since a backup is being made.
        """
        ...

    def path(self, name: str) -> Path:
        """Return where a file that was kept just now, and has no row yet, stands."""
        ...

    def file(self, name: str) -> Openable:
        """Return what opens the file ``name``, wherever its bytes are."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open the very bytes that are stored, never a copy.

        Raises:
            StoreUnavailable: they cannot be had now, or are gone.
            DamagedFile: they are not those that were stored.
        """
        ...

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the very bytes that are stored, as they come, for a promise that they are there.

        Raises:
            FileNotFoundError: they are gone.
            OSError: the disk fails, or this system lacks what it takes to look.
            NotHereYet: they wait on another machine.
            StoreUnavailable: they cannot be had now.
            DamagedFile: they are not those that were stored; what was yielded is void.
        """
        ...

    def ask(self) -> None:
        """Make sure that the store answers at all, before it is said that it lacks a file.

        Raises:
            StoreUnavailable: it does not, or its disk is not mounted.
        """
        ...

    def holds(self, name: str, data_set_offset: int, sha256: str) -> bool:
        """Say whether the very data set is surely here, so that a second one need not be kept.

        Never raises for a disk, a bucket or another machine: what cannot be asked is not sure.
        """
        ...

    def free_bytes(self) -> int:
        """Return the space left."""
        ...
