"""Receivers that break the promise on purpose: a proof that cannot fail proves nothing.

Each takes one step out of the order "file, directory entry, row, answer", or moves it.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa

from intu_fhir.db.instances import NewInstance, StagedAs
from intu_fhir.db.session import Database
from intu_fhir.errors import IntuError, InvalidDataSet, StoreUnavailable
from intu_fhir.files.local import LocalFileStore, LocalSpool
from intu_fhir.files.placed import Placed
from intu_fhir.files.sync import opened
from intu_fhir.model.instance import Accepted, Disposition, ReceivedObject
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commit import GroupCommit, Item, Result

ACK_FIRST, ROW_FIRST, NO_RENAME = "ack-first", "row-first", "no-rename"
NO_FILE_SYNC, NO_FOLDER_SYNC, WEAK_COMMIT = "no-file-sync", "no-folder-sync", "weak-commit"
EARLY_COMMIT, RETRY_SYNC = "early-commit", "retry-sync"
RETRY_FOLDER_SYNC, LATE_RESTORE = "retry-folder-sync", "late-restore"
TRUSTING, OPTIMIST = "trusting", "optimist"
HOPEFUL, UNTIDY = "hopeful", "untidy"
CRASH_MUTANTS = (ACK_FIRST, ROW_FIRST, NO_RENAME)
Walk: TypeAlias = Callable[..., Iterator[Any]]
SYNC_MUTANTS = (ACK_FIRST, NO_FILE_SYNC, NO_FOLDER_SYNC, WEAK_COMMIT, EARLY_COMMIT)


class RowFirst(LocalFileStore):
    """Puts the file in place only when its row is there."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._later: dict[str, tuple[Path, datetime]] = {}

    def place(self, spooled: Path, received_at: datetime) -> str:
        """Promise a name."""
        name = f"instances/{received_at:%Y/%m/%d/%H%M}/{spooled.stem}.dcm"
        self._later[name] = (spooled, received_at)
        return name

    def make_durable(self, name: str) -> None:
        """Do nothing yet."""

    def stands(self, name: str) -> bool:
        """Say so."""
        return True

    def confirm(self, name: str) -> None:
        """Keep the promise."""
        super().make_durable(super().place(*self._later.pop(name)))

    def remove(self, name: str) -> None:
        """Remove what may be in the spool alone."""
        self._later.pop(name, None)
        super().remove(name)


class NoRename(LocalFileStore):
    """Leaves the file where recovery throws everything away."""

    def place(self, spooled: Path, received_at: datetime) -> str:
        """Name the spool file."""
        return str(spooled.relative_to(self.root))


class EarlyCommit(GroupCommit[Item, Result]):
    """Commits the row before its file is on disk, and answers when both are."""

    def submit(self, item: Item, meanwhile: Callable[[], None] | None = None) -> Result:
        """Do one after the other, the wrong way round."""
        result = super().submit(item)
        if meanwhile is not None:
            meanwhile()
        return result


def file_store(mutant: str) -> Callable[[Path], LocalFileStore]:
    """Return the file store of a mutant, or the product's own."""
    stores: dict[str, Callable[[Path], LocalFileStore]] = {
        ROW_FIRST: RowFirst,
        NO_RENAME: NoRename,
    }
    return stores.get(mutant, LocalFileStore)


def spoil_sync(mutant: str) -> None:
    """Take the sync of files, or that of their folders, out of this process's file stores."""
    left_out = {NO_FILE_SYNC: "sync_file", NO_FOLDER_SYNC: "sync_folder"}[mutant]
    setattr(Placed, left_out, staticmethod(lambda descriptor: None))


def believe_a_second_sync() -> None:
    """Let this process's file stores try a failed sync of a file again."""
    once = Placed.sync_file

    def twice(descriptor: int) -> None:
        try:
            once(descriptor)
        except OSError:
            once(descriptor)

    setattr(Placed, "sync_file", staticmethod(twice))  # noqa: B010  (mypy forbids the other form)


def believe_another_descriptor() -> None:
    """Let this process's file stores sync a folder anew by a descriptor that was told nothing."""
    once = Placed.sync_folder

    def twice(descriptor: int) -> None:
        try:
            once(descriptor)
        except OSError:
            with opened(Path(f"/proc/self/fd/{descriptor}").readlink()) as another:
                once(another)

    setattr(Placed, "sync_folder", staticmethod(twice))  # noqa: B010  (as above)


def restore_late() -> None:
    """Let this process answer a restored object first, and tell its row with the next object."""
    restore, take = Accept._restore, Accept.__call__
    left: list[Callable[[], bool]] = []

    def later(accept: Accept, row: NewInstance, staged: StagedAs) -> bool:
        left.append(partial(restore, accept, row, staged))
        return True

    def first_what_is_left(accept: Accept, received: ReceivedObject) -> Accepted:
        while left:
            left.pop()()
        return take(accept, received)

    setattr(Accept, "_restore", later)  # noqa: B010  (as above)
    setattr(Accept, "__call__", first_what_is_left)  # noqa: B010


def weaken_commits(database: Database) -> None:
    """Let commits of this database return before they are on disk."""
    weak = "PRAGMA synchronous=NORMAL" if database.is_sqlite else "SET synchronous_commit = off"

    @sa.event.listens_for(database.engine, "connect")
    def _weaken(connection: Any, _record: Any) -> None:
        connection.execute(weak).close()
        if not database.is_sqlite:
            connection.commit()


class AckFirst:
    """Answers at once, and does the work when the same association brings its next object.

    A thread that began the work at once could be done before the answer is sent.
    """

    def __init__(self, accept: Callable[[ReceivedObject], Accepted]) -> None:
        self._accept = accept
        self._left = threading.local()

    def __call__(self, received: ReceivedObject) -> Accepted:
        """Lie."""
        self._work()
        self._left.received = received
        return Accepted(Disposition.STORED, received.sop_instance_uid)

    def _work(self) -> None:
        left: ReceivedObject | None = getattr(self._left, "received", None)
        if left is not None:
            with contextlib.suppress(IntuError):
                self._accept(left)


class Hopeful:
    """Answers Success where the database cannot take it now, as if it surely would."""

    def __init__(self, accept: Callable[[ReceivedObject], Accepted]) -> None:
        self._accept = accept

    def __call__(self, received: ReceivedObject) -> Accepted:
        """Hope."""
        try:
            return self._accept(received)
        except StoreUnavailable:
            return Accepted(Disposition.STORED, received.sop_instance_uid)


def leave_spool_files() -> None:
    """Let this process's file stores leave what they could not write to the end."""
    LocalSpool.discard = lambda _spool: None  # type: ignore[assignment, method-assign]


@contextlib.contextmanager
def trust_lengths() -> Iterator[None]:
    """Let a reader of PDUs believe what a PDV says of its own length."""
    import intu_fhir.receive.upper_layer as upper_layer

    def fragments(body: memoryview) -> Iterator[upper_layer.Fragment]:
        begin = 0
        while begin < len(body):
            length, context_id, header = struct.unpack_from(">IBB", body, begin)
            data = body[begin + 6 : begin + 4 + length]
            yield upper_layer.Fragment(context_id, header & 1 != 0, header & 2 != 0, data)
            begin += 4 + length

    careful = upper_layer.__dict__["_fragments"]
    upper_layer.__dict__["_fragments"] = fragments
    try:
        yield
    finally:
        upper_layer.__dict__["_fragments"] = careful


@contextlib.contextmanager
def take_cut_pixels() -> Iterator[None]:
    """Let a walk over a data set end inside pixel data, as if that were its end."""

    def walk(careful: Walk, data: Any, *others: Any) -> Iterator[Any]:
        try:
            yield from careful(data, *others)
        except InvalidDataSet:
            if b"\xe0\x7f\x10\x00" not in bytes(data):
                raise

    with _walking(walk):
        yield


@contextlib.contextmanager
def believe_in_completeness() -> Iterator[None]:
    """Let a walk over a data set end wherever its bytes end, as if that were its end."""

    def walk(careful: Walk, *given: Any) -> Iterator[Any]:
        with contextlib.suppress(InvalidDataSet):
            yield from careful(*given)

    with _walking(walk):
        yield


@contextlib.contextmanager
def _walking(walk: Walk) -> Iterator[None]:
    """Let headers be read by another walk, which is given the product's own as well."""
    import intu_fhir.stage.header as header

    careful = header.__dict__["walk"]
    header.__dict__["walk"] = partial(walk, careful)
    try:
        yield
    finally:
        header.__dict__["walk"] = careful
