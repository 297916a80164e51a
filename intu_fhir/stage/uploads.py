"""Brings files from this machine's spool into the object store, and notes what is there.

A file leaves the spool, and its row the ledger, only after the bucket has given the very bytes
back. Doing it twice is harmless: the object is the same, and the ledger forgets it once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from intu_fhir.db import uploads as ledger
from intu_fhir.db.file_checks import images_with, note_damage
from intu_fhir.db.session import Database
from intu_fhir.db.uploads import Upload
from intu_fhir.errors import IntuError, StoreUnavailable
from intu_fhir.files.s3 import ObjectFileStore
from intu_fhir.observe import metrics
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.object_store import ObjectStore
from intu_fhir.stage.left_behind import LeftBehind

_log = structlog.get_logger("intu_fhir.uploads")
_ROUNDS = 8
_FIRST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a file was not uploaded; ``lost`` where waiting does not help."""

    reason: str
    lost: bool = False


@dataclass(frozen=True)
class Uploader:
    """Uploads what waits in the spool of this machine; several processes take turns."""

    database: Database
    files: ObjectFileStore
    clock: Clock
    settings: ObjectStore
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _left_behind: LeftBehind = field(init=False)

    def __post_init__(self) -> None:
        longest = float(self.settings.retry_seconds)
        left = LeftBehind(self.database, self.files, self.clock, longest)
        object.__setattr__(self, "_left_behind", left)

    def upload_some(self) -> int:
        """Upload the files that wait longest; return how many the bucket now has.

        What the bucket did not let go is removed first: it was to go before, whatever the database
        says now.

        Raises:
            StoreUnavailable: the database cannot be asked or told.
        """
        self._left_behind.remove_some()
        with self._alone() as alone:
            if not alone:
                return 0
            with self.database.read() as connection:
                batch = ledger.due_uploads(
                    connection, self.files.here, self.clock.now(), _ROUNDS * self.settings.uploads
                )
            return self._upload(batch) if batch else 0

    def waiting(self) -> int:
        """Return how many files wait in the spool of this machine."""
        with self.database.read() as connection:
            return ledger.waiting_in(connection, self.files.here)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Take this machine's turn, or give up: what another process does need not be done."""
        if not self._turn.acquire(blocking=False):
            yield False
            return
        try:
            with self.files.turn() as alone:
                yield alone
        finally:
            self._turn.release()

    def _upload(self, batch: Sequence[Upload]) -> int:
        with ThreadPoolExecutor(self.settings.uploads, thread_name_prefix="upload") as pool:
            results = list(pool.map(self._upload_one, batch))
        done = [one.file for one, failure in zip(batch, results, strict=True) if failure is None]
        for name in done:
            self.files.release(name)
        bad = [(one, why) for one, why in zip(batch, results, strict=True) if why is not None]
        lost_anew = [one.file for one, why in bad if why.lost and why.reason != one.last_error]
        lost = self._images_lost(lost_anew)
        given_up = self._give_up(set(lost_anew) - set(lost.values()))
        failed = [self._note(one, why) for one, why in bad if one.file not in given_up]
        with self.database.write() as connection:
            known = ledger.uploaded(connection, done)
            note_damage(connection, lost, self.clock.now())
            for file, reason, later in failed:
                ledger.upload_failed(connection, file, reason, later)
        for name in set(done) - known:  # their instances were removed meanwhile
            with suppress(StoreUnavailable):  # then it is left behind
                self.files.remove(name)
        metrics.FILES_UPLOADED.inc(len(done))
        return len(done)

    def _upload_one(self, one: Upload) -> _Failure | None:
        try:
            self.files.upload(one.file, one.data_set_offset, one.sha256)
        except FileNotFoundError:
            return _Failure("neither the spool nor the bucket has it", lost=True)
        except StoreUnavailable as error:
            return _Failure(str(error))
        except IntuError as error:
            return _Failure(str(error), lost=True)
        except OSError as error:
            return _Failure(f"the spool cannot be read: {error.strerror}")
        return None

    def _give_up(self, lost: set[str]) -> set[str]:
        """Forget what is lost and nobody asks for any more; return it."""
        if not lost:
            return lost
        with self.database.write() as connection:
            return ledger.forget_unspoken(connection, lost)

    def _images_lost(self, lost: Sequence[str]) -> dict[int, str]:
        """Find whose bytes are lost, so that they are taken again when they are sent again.

        Asked once for each loss: files have no index.
        """
        if not lost:
            return {}
        with self.database.read() as connection:
            return images_with(connection, lost)

    def _note(self, one: Upload, failure: _Failure) -> tuple[str, str, datetime]:
        """Say when to try again; what is lost is looked for again at the longest interval."""
        longest = float(self.settings.retry_seconds)
        doubled = _FIRST_SECONDS * 2 ** min(one.attempts, 30)
        wait = longest if failure.lost else min(doubled, longest)
        metrics.UPLOADS_FAILED.inc()
        said = {"file": one.file, "attempt": one.attempts + 1, "reason": failure.reason}
        if failure.lost:
            _log.error("file_lost", **said)
        else:
            _log.warning("upload_failed", **said)
        return one.file, failure.reason, self.clock.now() + timedelta(seconds=wait)
