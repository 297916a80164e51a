"""Removes what an object store did not let go, for as long as it takes."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

import structlog

from intu_fhir.db.pruning import want_removed
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.s3 import ObjectFileStore
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.uploads")
_AT_A_TIME = 64
_FIRST_SECONDS = 1.0


@dataclass
class LeftBehind:
    """Tries again to remove objects of this process that no row speaks of.

    A process that ends first leaves them to others: what still stands in the spool is found by
    ``recover``, anything else is written down for removal.

    Args:
        longest_seconds: between two tries.
    """

    database: Database
    files: ObjectFileStore
    clock: Clock
    longest_seconds: float
    _next: float = 0.0
    _in_vain: int = 0
    _listed: set[str] = field(default_factory=set)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def remove_some(self) -> None:
        """Remove some of them; a bucket that lets nothing go is asked less and less often."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            if self.files.left_behind() and self.clock.monotonic() >= self._next:
                self._remove()
        finally:
            self._turn.release()

    def _remove(self) -> None:
        for name in self.files.left_behind()[:_AT_A_TIME]:
            try:
                self.files.remove(name)
            except StoreUnavailable as error:
                # The others come first next time: it may be this object alone that has to stay.
                self._put_off(name, error)
                return
        self._in_vain = 0

    def _put_off(self, name: str, error: StoreUnavailable) -> None:
        _log.error("leftover_stays", file=name, reason=str(error))
        wait = min(_FIRST_SECONDS * 2 ** min(self._in_vain, 30), self.longest_seconds)
        self._next = self.clock.monotonic() + wait
        self._in_vain += 1
        self._list()

    def _list(self) -> None:
        """Write down what nothing in the spool speaks of."""
        names = {name for name in self.files.left_behind() if not self.files.path(name).exists()}
        self._listed &= names
        new = sorted(names - self._listed)[:_AT_A_TIME]
        # Where the database is away as well, it is asked after the next try.
        with contextlib.suppress(StoreUnavailable):
            if new:
                with self.database.write() as connection:
                    want_removed(connection, new, self.clock.now())
                self._listed.update(new)
