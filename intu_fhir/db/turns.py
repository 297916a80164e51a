"""What one at a time may do, over all threads and processes of a site."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import zlib
from collections.abc import Iterator
from types import TracebackType

import sqlalchemy as sa

from intu_fhir.db.locked_files import try_lock
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable

WAIT_SECONDS = 30.0
"""How long one waits for its turn before the work is put off."""
_HELD_SECONDS = 600
"""After so long PostgreSQL takes a turn back: who has it froze or is cut off."""
_PAUSE_SECONDS = 0.02
_SPACE = 0x494E5454
"""First key of the advisory locks, "INTT" in ASCII."""


class Turn:
    """A turn by its name, for a ``with`` block; whoever is in one must not ask for it again.

    It may be kept while a far side is asked: it is no turn to write in the database.
    """

    def __init__(
        self, database: Database, name: str, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._database = database
        self._key = zlib.crc32(name.encode()) - 2**31
        self._wait = wait_seconds
        self._here = threading.Lock()
        self._beyond = contextlib.ExitStack()

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            StoreUnavailable: it did not come in time.
        """
        if not self._here.acquire(timeout=self._wait):
            raise _waited()
        try:
            self._beyond.enter_context(self._beyond_this_process())
        except BaseException:
            self._here.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the next one have it."""
        try:
            self._beyond.close()
        finally:
            self._here.release()

    def _beyond_this_process(self) -> contextlib.AbstractContextManager[None]:
        if not self._database.is_sqlite:
            return self._in_database()
        file = self._database.engine.url.database
        if not file:
            return contextlib.nullcontext()
        return self._in_file(f"{file}-turn{self._key & 0xFFFFFFFF:08x}")

    @contextlib.contextmanager
    def _in_database(self) -> Iterator[None]:
        """Have an advisory lock: it ends with the connection, however that ends."""
        with self._database.read() as connection:
            for name, seconds in (
                ("lock_timeout", self._wait),
                ("idle_in_transaction_session_timeout", _HELD_SECONDS),
            ):
                connection.execute(
                    sa.select(sa.func.set_config(name, f"{round(seconds * 1_000)}ms", True))
                )
            self._locked_there(connection)
            yield

    def _locked_there(self, connection: sa.Connection) -> None:
        try:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SPACE, self._key)))
        except sa.exc.OperationalError as error:
            if type(error.orig).__name__ == "LockNotAvailable":
                raise _waited() from error
            raise

    @contextlib.contextmanager
    def _in_file(self, path: str) -> Iterator[None]:
        """Have a file beside the database: it is let go with the process, however that ends."""
        until = time.monotonic() + self._wait
        try:
            file = _opened(path)
        except OSError as error:
            raise StoreUnavailable(
                f"{path} cannot be opened ({error.strerror}); give it to the user that the service "
                "runs as, or remove it while nothing runs"
            ) from error
        try:
            while not try_lock(file):
                if time.monotonic() >= until:
                    raise _waited()
                time.sleep(_PAUSE_SECONDS)
            yield
        finally:
            os.close(file)


def _opened(path: str) -> int:
    """Open a file beside a database; what root makes belongs to who has the database."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = os.stat(path.rpartition("-turn")[0])
        os.fchown(file, owner.st_uid, owner.st_gid)
    return file


def _waited() -> StoreUnavailable:
    return StoreUnavailable("Another worker looks after the same at the moment; it is tried again")
