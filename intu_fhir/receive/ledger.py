"""The places of associations, counted over all receiving processes, and who has to give one up.

A small table in memory, mapped by every process. Each association takes a place: the number of its
process, a digest of its peer, and since when nothing has come from it. So limits hold over all
processes, and where every place is taken a newcomer may get that of a peer who holds many and
says nothing. A process that dies leaves its places behind; whoever starts it again clears them.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple, Self

RESTING_SECONDS = 1.0
"""Who has said nothing for so long goes before all who are in the middle of their work."""
STALLED_SECONDS = 2.0
"""Inside a message a peer keeps its place for so long, whatever it says."""

_ENTRY = struct.Struct("=QdQ16s")
_HEAD = _ENTRY.size
_FREE = b"\0" * _ENTRY.size


class _Entry(NamedTuple):
    """A place as the table holds it.

    Args:
        serial: no other association ever had it; 0 while the place is free.
        quiet: since when nothing comes, in seconds of the monotonic clock, which all processes
            of a machine share; below zero inside a message; 0 while something is done for it.
    """

    serial: int
    quiet: float
    process: int
    peer: bytes


class Place:
    """The place of one association, until it gives it back or has to.

    Its words are read and written without a lock, as often as bytes come: nobody else writes
    ``quiet`` while the place is ours. Who loses it in that very moment may mark the newcomer as
    quiet until that one is heard next, which costs at worst one association more.
    """

    __slots__ = ("_quiet", "_serials", "_word", "index", "serial")

    def __init__(
        self, serials: memoryview[int], quiet: memoryview[float], index: int, serial: int
    ) -> None:
        self._serials, self._quiet = serials, quiet
        self._word = _at(index) // 8
        self.index, self.serial = index, serial

    @property
    def is_ours(self) -> bool:
        """Say whether nobody else has got it meanwhile."""
        return bool(self._serials[self._word] == self.serial)

    def waits(self, now: float, *, inside_message: bool) -> None:
        """Note that the peer has to say something next."""
        if self._serials[self._word] == self.serial:
            self._quiet[self._word + 1] = -now if inside_message else now

    def works(self) -> None:
        """Note that the peer has said something, which is dealt with now."""
        if self._serials[self._word] == self.serial:
            self._quiet[self._word + 1] = 0.0


class Ledger:
    """One process's hand in the table.

    Args:
        descriptor: of the shared file, which stays open as long as the ledger; -1 where no other
            process has to see it.
        process: number of this process, from 1.
        size: bytes of the table; 0 = as long as the file.
    """

    def __init__(self, descriptor: int, process: int, size: int = 0) -> None:
        self._descriptor = descriptor
        self._process = process
        self._table = mmap.mmap(descriptor, size)
        words = memoryview(self._table)
        self._serials, self._quiet = words.cast("Q"), words.cast("d")
        self._turn = threading.Lock()

    @classmethod
    def of_one(cls, max_associations: int) -> Self:
        """Return the ledger of a process that is alone."""
        return cls(-1, 1, _size(max_associations))

    def take(self, peer: str, max_per_peer: int, now: float) -> Place | str:
        """Take a place for an association.

        Where none is free, that of the peer that holds most from which nothing has come for longest
        goes to the newcomer; not to one that holds as many.

        Args:
            peer: as ``peer_key`` gives it.
            now: seconds of the monotonic clock.

        Returns:
            the place, or the setting that leaves none.
        """
        who = _digest(peer)
        with self._alone():
            entries = list(self._entries())
            held = Counter(entry.peer for entry in entries if entry.serial)
            if held[who] >= max_per_peer:
                return "max_associations_per_address"
            index = next((index for index, entry in enumerate(entries) if not entry.serial), None)
            if index is None:
                index = _giving_way(entries, held, held[who], now)
            if index is None:
                return "max_associations"
            return self._enter(index, who)

    def give(self, place: Place) -> None:
        """Give a place back; one that was lost stays with whom it has gone to."""
        with self._alone():
            if place.is_ours:
                self._free(place.index)

    def clear(self, process: int) -> None:
        """Give back all places of a process that has ended."""
        with self._alone():
            for index, entry in enumerate(self._entries()):
                if entry.process == process:
                    self._free(index)

    def taken(self) -> int:
        """Return how many associations there are, in all processes."""
        with self._alone():
            return sum(entry.serial != 0 for entry in self._entries())

    def _entries(self) -> Iterator[_Entry]:
        return map(_Entry._make, _ENTRY.iter_unpack(self._table[_HEAD:]))

    def _enter(self, index: int, who: bytes) -> Place:
        serial = self._serials[0] + 1  # the head holds the last one that was given
        self._serials[0] = serial
        _ENTRY.pack_into(self._table, _at(index), serial, 0.0, self._process, who)
        return Place(self._serials, self._quiet, index, serial)

    def _free(self, index: int) -> None:
        self._table[_at(index) : _at(index) + _ENTRY.size] = _FREE

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others out: threads by a lock of ours, processes by one that ends with them."""
        with self._turn:
            if self._descriptor < 0:
                yield
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _giving_way(entries: list[_Entry], held: Counter[bytes], own: int, now: float) -> int | None:
    """Return which place a peer that has ``own`` ones may get, if any.

    A peer without a place may get that of any other, so that no number of peers can keep all
    places among them; one that has some, only that of a peer which is left with as many.
    """
    best, choice = (False, 0, 0.0), None
    for index, entry in enumerate(entries):
        others, quiet = held[entry.peer], now - abs(entry.quiet)
        works = entry.quiet == 0 or (entry.quiet < 0 and quiet < STALLED_SECONDS)
        if works or (own and others <= own + 1):
            continue
        rank = (quiet >= RESTING_SECONDS, others, quiet)
        if choice is None or rank > best:
            best, choice = rank, index
    return choice


def _at(index: int) -> int:
    return _HEAD + index * _ENTRY.size


def _size(max_associations: int) -> int:
    return _HEAD + max_associations * _ENTRY.size


def _digest(peer: str) -> bytes:
    return blake2b(peer.encode(), digest_size=16).digest()


def make_ledger_file(max_associations: int) -> int:
    """Return the descriptor of a new shared file, to be handed on to other processes."""
    with tempfile.TemporaryFile() as file:
        file.truncate(_size(max_associations))
        return os.dup(file.fileno())
