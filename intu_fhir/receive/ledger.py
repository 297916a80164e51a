"""Counts associations over several receiving processes, so that they share one set of limits.

A small file that has no name any more, mapped by every process. Each association takes an entry:
the number of its process and a digest of its peer's address. A process that dies leaves its
entries behind; whoever starts it again clears them.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from hashlib import blake2b

_ENTRY = struct.Struct(">H14s")
_FREE = 0


class Ledger:
    """One process's hand in the shared count.

    Args:
        descriptor: of the shared file; stays open as long as the ledger.
        process: number of this process, from 1.
    """

    def __init__(self, descriptor: int, process: int) -> None:
        self._descriptor = descriptor
        self._process = process
        self._entries = mmap.mmap(descriptor, 0)
        self._turn = threading.Lock()

    def take(self, address: str, max_per_address: int) -> str:
        """Take an entry for an association; return ``""`` or the limit that leaves none."""
        peer = _digest(address)
        free, of_peer = -1, 0
        with self._alone():
            for index, (process, entry_peer) in enumerate(_ENTRY.iter_unpack(self._entries)):
                if process == _FREE:
                    free = index
                elif entry_peer == peer:
                    of_peer += 1
            if free < 0:
                return "max_associations"
            if of_peer >= max_per_address:
                return "max_associations_per_address"
            _ENTRY.pack_into(self._entries, free * _ENTRY.size, self._process, peer)
        return ""

    def give(self, address: str) -> None:
        """Give an entry of this process for that address back."""
        mine = _ENTRY.pack(self._process, _digest(address))
        with self._alone():
            for index, entry in enumerate(_ENTRY.iter_unpack(self._entries)):
                if _ENTRY.pack(*entry) == mine:
                    _ENTRY.pack_into(self._entries, index * _ENTRY.size, _FREE, b"")
                    return

    def clear(self, process: int) -> None:
        """Give back all entries of a process that has ended."""
        with self._alone():
            for index, (owner, _) in enumerate(_ENTRY.iter_unpack(self._entries)):
                if owner == process:
                    _ENTRY.pack_into(self._entries, index * _ENTRY.size, _FREE, b"")

    def taken(self) -> int:
        """Return how many associations there are, in all processes."""
        with self._alone():
            return sum(process != _FREE for process, _ in _ENTRY.iter_unpack(self._entries))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others out: threads by a lock of ours, processes by one that ends with them."""
        with self._turn:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _digest(address: str) -> bytes:
    return blake2b(address.encode(), digest_size=14).digest()


def make_ledger_file(max_associations: int) -> int:
    """Return the descriptor of a new shared file, to be handed on to other processes."""
    with tempfile.TemporaryFile() as file:
        file.truncate(max_associations * _ENTRY.size)
        return os.dup(file.fileno())
