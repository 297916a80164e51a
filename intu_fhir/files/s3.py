"""Files in an object store: durable in a spool of this machine first, then uploaded.

A name is the same in the spool and in the bucket. Bytes are in the spool from ``keep`` on and
leave it only once the bucket has given them back unchanged. Until then a row of ``uploads`` (the
ledger) names the spool that has them. It comes in one transaction with the row of the instance,
so whoever finds an instance without such a row finds its bytes in the bucket.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from intu_fhir.errors import DamagedFile, NotHereYet, StoreUnavailable
from intu_fhir.files.bucket import Bucket
from intu_fhir.files.cache import Cache, unnamed_file
from intu_fhir.files.digest import blocks_of, data_set_digest
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.spools import NAME_FILE, spool_name
from intu_fhir.files.store import Openable
from intu_fhir.settings.object_store import ObjectStore

_SILENCE_SECONDS = 60.0
"""A bucket that did not answer a sender's question is not asked by the next ones for so long."""
_MOST_DOUBTFUL = 1_000


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file, wherever its bytes are now."""

    store: ObjectFileStore
    name: str

    def open(self, _mode: Literal["rb"], /) -> BinaryIO:
        """Open its bytes: those of the spool, a copy, or those of the bucket."""
        return self.store.open_any(self.name)


class ObjectFileStore(LocalFileStore):
    """A bucket, with a spool and copies on this machine.

    Args:
        spool_of: asks the ledger which spool has a file; empty = none, it was uploaded.

    Raises:
        ConfigurationError: the settings cannot be used, or the spool is a local file store.
        StoreUnavailable: the spool's disk fails.
    """

    def __init__(self, url: str, settings: ObjectStore, spool_of: Callable[[str], str]) -> None:
        super().__init__(settings.spool)
        self.here = spool_name(settings.spool)
        self.at_once = settings.uploads
        self._uploads_first = settings.answer == "uploaded"
        self.spool = "" if self._uploads_first else self.here
        self._bucket = Bucket(url, settings)
        self._cache = Cache(settings.spool / "cache", settings.cache_bytes)
        self._spool_of = spool_of
        self._uploaded: set[str] = set()
        self._left_behind: dict[str, None] = {}
        self._silent_until = 0.0
        self._noting = threading.Lock()

    def file(self, name: str) -> Openable:
        """Return what opens the file ``name``, wherever its bytes are."""
        self.path(name)  # refuses a name that leads outside
        return StoredFile(self, name)

    def open(self, name: str) -> BinaryIO:
        """Open the very bytes that are stored: those of the spool, or of the bucket."""
        try:
            return self.path(name).open("rb")
        except FileNotFoundError:
            pass
        copy = unnamed_file(self.root)
        try:
            self._fetch(name, copy)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy

    def open_any(self, name: str) -> BinaryIO:
        """Open a file for reading; a copy will do, which was compared when it was made."""
        try:
            return self.path(name).open("rb")
        except FileNotFoundError:
            return self._cache.open(name, lambda copy: self._fetch(name, copy))

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the very bytes that are stored: those of the spool, or of the bucket."""
        try:
            file = self.path(name).open("rb")
        except FileNotFoundError:
            yield from self._from_bucket(name)
            return
        yield from blocks_of(file)

    def has(self, name: str) -> bool:
        """Say whether the spool or the bucket has a file."""
        if self.path(name).is_file() or self._bucket.has(name):
            return True
        if spool := self._spool_of(name):
            if spool != self.here:
                raise self._elsewhere(name, spool)
            return False
        return self._bucket.has(name)  # its upload may have ended between the questions

    def holds(self, name: str, data_set_offset: int, sha256: str) -> bool:
        """Say whether the very data set is surely here: read from the spool, or in the bucket.

        Of the bucket it is only asked whether it has the object: it gave back the right bytes when
        it got them, and to read all of them again is what ``files verify`` is for. What waits in
        the spool of another machine is not sure: its disk may be gone for good.
        """
        if self.path(name).exists():
            return super().holds(name, data_set_offset, sha256)
        if time.monotonic() < self._silent_until:
            return False
        try:
            return self.has(name)
        except NotHereYet:
            return False
        except (StoreUnavailable, OSError):
            # A sender waits for each of these questions, and gives up before many time-outs.
            self._silent_until = time.monotonic() + _SILENCE_SECONDS
            return False

    def ask(self) -> None:
        """Make sure that the bucket answers at all."""
        self._bucket.ask()

    def names(self) -> Iterator[str]:
        """Give the name of every file of this spool and of the bucket, sorted by code point."""
        parts = (self._bucket.names(part) for part in ("instances", "quarantine"))
        last = ""
        for name in heapq.merge(self.spooled_names(), itertools.chain.from_iterable(parts)):
            if name != last:
                yield name
            last = name

    def spooled_names(self) -> Iterator[str]:
        """Give the name of every file of this spool, sorted by code point."""
        return LocalFileStore.names(self)

    def confirm(self, name: str) -> None:
        """Note that a row speaks of the file; what the bucket has need not stay in the spool."""
        super().confirm(name)
        with self._noting:
            uploaded = name in self._uploaded
            self._uploaded.discard(name)
        if uploaded:
            self.release(name)

    def moved(self, name: str) -> bool:
        """Note that a file went to quarantine; the bucket has it under that name as well."""
        super().moved(name)
        with self._noting:
            uploaded = name in self._uploaded
            self._uploaded.discard(name)
        if uploaded:
            try:
                self._remove_there(name)
            except StoreUnavailable:
                return False
        return True

    def stands(self, name: str) -> bool:
        """Say whether the spool still has a file, or the bucket by now."""
        return super().stands(name) or self.has(name)

    def remove(self, name: str) -> None:
        """Remove a file from the bucket, the copies and the spool.

        In this order: while the bucket is away, the file in the spool says that it is to go.
        """
        if self._is_elsewhere(name):
            self._remove_there(name)
            self._cache.drop(name)
        self._remove_here(name)

    def left_behind(self) -> list[str]:
        """Return what was to go and the bucket did not let go, what was tried last at the end.

        Of files that are not in the spool nothing else knows: they were moved, or uploaded.
        """
        with self._noting:
            return list(self._left_behind)

    def _remove_if_there(self, name: str) -> None:
        """Remove what may have been stored, where the answer alone was lost.

        Through a long outage senders try again and again, and hardly any of that was stored: not
        all of it is remembered.
        """
        if len(self._left_behind) < _MOST_DOUBTFUL:
            self._remove_there(name)
        else:
            self._bucket.remove(name)

    def _remove_there(self, name: str) -> None:
        with self._noting:
            self._left_behind.pop(name, None)
        try:
            self._bucket.remove(name)
        except StoreUnavailable:
            with self._noting:
                self._left_behind[name] = None
            raise

    def _remove_here(self, name: str) -> None:
        super().remove(name)
        with self._noting:
            self._uploaded.discard(name)

    def remove_all(self, names: Collection[str]) -> bool:
        """Remove files for good, from the bucket as well; none of them may wait for its upload."""
        if not super().remove_all(names):
            return False
        for name in names:
            self._cache.drop(name)
            self._bucket.remove(name)
        return True

    def _is_elsewhere(self, name: str) -> bool:
        """Say whether the bucket may have a file.

        One that waits here without a row was never uploaded, so that it can go while the bucket
        is away.
        """
        if self._uploads_first or not self.path(name).exists():
            return True
        return not self.waits_for_row(name) and bool(self._spool_of(name))

    def upload(self, name: str, data_set_offset: int, sha256: str) -> None:
        """Bring a file of the spool into the bucket; on return the bucket surely has it.

        It is compared before with what came over the network. The spool keeps it until
        ``release``.

        Raises:
            FileNotFoundError: neither the spool nor the bucket has it.
            StoreUnavailable: it is not surely there; try again.
            DamagedFile: the spool's disk gives other bytes than were received.
            OSError: the spool's disk fails.
        """
        try:
            file = self.path(name).open("rb")
        except FileNotFoundError:
            if self._bucket.has(name):
                return  # uploaded before a crash that kept the ledger from hearing of it
            raise
        with file:
            if data_set_digest(file, data_set_offset) != sha256:
                raise DamagedFile(
                    f"The spooled file {name} holds other bytes than were received; have the "
                    "instance sent again, then look at the disk"
                )
            self._bucket.put(name, file)

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Give the turn to upload from this spool; False where another process has it."""
        descriptor = os.open(self.root / NAME_FILE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    def release(self, name: str) -> None:
        """Let a file of the spool go that the bucket has; it may stay as a copy."""
        path = self.path(name)
        if path.exists():
            self._cache.take(path, name)

    def recovered(self, names: Collection[str]) -> None:
        """Let go of files that a dead process left, a row speaks of, and the bucket has."""
        for name in names:
            if not self._spool_of(name) and self._bucket.has(name):
                self.release(name)

    def probe(self) -> None:
        """Write to the bucket, read and remove what was written.

        Raises:
            StoreUnavailable: that is not possible.
        """
        self._bucket.probe()

    def _place(self, spooled: Path, part: str, received_at: datetime) -> str:
        name = super()._place(spooled, part, received_at)
        if not self._uploads_first:
            return name
        try:
            with self.path(name).open("rb") as file:
                self._bucket.put(name, file)
        except (StoreUnavailable, OSError) as error:
            with contextlib.suppress(StoreUnavailable):
                self._remove_if_there(name)
            with contextlib.suppress(StoreUnavailable):
                self._remove_here(name)
            if isinstance(error, OSError):
                raise StoreUnavailable("A file could not be read for its upload") from error
            raise
        with self._noting:
            self._uploaded.add(name)
        return name

    def _fetch(self, name: str, into: BinaryIO) -> int:
        return sum(into.write(block) for block in self._from_bucket(name))

    def _from_bucket(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of the bucket; where it has none, say whose spool has them."""
        for _ in range(2):
            try:
                yield from self._bucket.blocks(name)
            except FileNotFoundError:
                if spool := self._spool_of(name):
                    raise self._elsewhere(name, spool) from None
            else:
                return
            # The upload may have ended between both questions: the second answer counts.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    def _elsewhere(self, name: str, spool: str) -> Exception:
        if spool == self.here:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return NotHereYet(
            f"The file {name} waits in the spool {spool} for its upload; see that `receive` or "
            "`serve` runs there"
        )
