"""Storage commitment: takes requests, and looks whether each instance is really there."""

from __future__ import annotations

import errno
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from intu_fhir.db import commitments as table
from intu_fhir.db.commitments import Unchecked
from intu_fhir.db.session import Database
from intu_fhir.errors import DamagedFile, StaleClaim, StoreUnavailable
from intu_fhir.files.digest import data_set_digest
from intu_fhir.files.store import FileStore
from intu_fhir.model.commitment import ASKED, CommitmentClaim, CommitmentRequest, FailureReason
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import StorageCommitment
from intu_fhir.stage.commitment import read_action_information

_log = structlog.get_logger("intu_fhir.commitment")
_BATCH = 100
_LEASE_SECONDS = 600.0
_SOON_SECONDS = 5.0
# What goes by itself: too many open files, no memory. Anything else of a disk means damage.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})


@dataclass(frozen=True)
class Commitments:
    """Requests for storage commitment of all channels; safe to use from several threads.

    Args:
        receiver: names the receiving process in staging.
        supported: SOP classes that are stored at all.
    """

    database: Database
    files: FileStore
    clock: Clock
    receiver: str
    limits: StorageCommitment
    supported: Collection[str]

    def take(self, request: CommitmentRequest) -> None:
        """Store a request; on return it is on disk and will be worked on.

        Raises:
            InvalidDataSet: it cannot be read.
            LimitPassed: it asks for too much.
            StoreUnavailable: it cannot be stored now, or too many wait.
        """
        asked = read_action_information(
            request.action_information, request.transfer_syntax_uid, self.limits.max_instances
        )
        with self.database.write() as connection:
            stored = table.store_request(
                connection,
                request.origin,
                asked,
                self.clock.now(),
                receiver=self.receiver,
                max_waiting=self.limits.max_waiting,
            )
        if not stored:
            raise StoreUnavailable(
                f"{self.limits.max_waiting} requests for storage commitment wait already; "
                "see `intu-fhir commitments`"
            )

    def check_some(self) -> int:
        """Look at the next instances of the oldest request; return how many were looked at."""
        held = self._claim()
        if held is None:
            return 0
        with self.database.read() as connection:
            waiting = table.unchecked(connection, held, _BATCH)
        try:
            results = [(one.number, self._result(held, one)) for one in waiting]
            self._store(held, results, ended=len(waiting) < _BATCH)
        except StaleClaim:
            return 0
        except StoreUnavailable:
            self._put_off(held)
            return 0
        return max(len(results), 1)

    def _put_off(self, held: CommitmentClaim) -> None:
        """Look again when an object store may answer, or have what another machine took."""
        soon = self.clock.now() + timedelta(seconds=_SOON_SECONDS)
        with suppress(StaleClaim), self.database.write() as connection:
            table.put_back(connection, held, soon)

    def _claim(self) -> CommitmentClaim | None:
        now = self.clock.now()
        with self.database.read() as connection:
            if not table.is_due(connection, ASKED, now):
                return None
        with self.database.write() as connection:
            return table.claim(connection, ASKED, now, lease_seconds=_LEASE_SECONDS)

    def _store(self, held: CommitmentClaim, results: list[tuple[int, str]], *, ended: bool) -> None:
        with self.database.write() as connection:
            table.store_results(connection, held, results)
            if ended:
                table.checked(connection, held, self.clock.now())
            else:
                table.put_back(connection, held, held.claimed_at)

    def _result(self, held: CommitmentClaim, one: Unchecked) -> str:
        reason = self._failure(held, one)
        return table.COMMITTED if reason is None else f"{reason:04X}"

    def _failure(self, held: CommitmentClaim, one: Unchecked) -> FailureReason | None:
        """Return why an instance cannot be promised, or None (PS3.3 C.14.1.1)."""
        if held.is_repeat:
            return FailureReason.DUPLICATE_TRANSACTION_UID
        if one.file is None:
            known = one.sop_class_uid in self.supported
            return (
                FailureReason.NO_SUCH_OBJECT_INSTANCE
                if known
                else FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED
            )
        if one.staged_class_uid != one.sop_class_uid:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        return self._damage(one, one.file)

    def _damage(self, one: Unchecked, file: str) -> FailureReason | None:
        """Read the stored file again and compare it with what was received."""
        try:
            same = self._digest(file, one.data_set_offset or 0) == one.sha256
        except (OSError, StoreUnavailable, DamagedFile) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(error, StoreUnavailable) and not isinstance(cause, OSError):
                raise  # of an object store, which says nothing about the file
            if getattr(cause, "errno", None) in _PASSING:
                return FailureReason.RESOURCE_LIMITATION
            same = False
        if same:
            return None
        _log.error(
            "file_damaged",
            instance=one.sop_instance_uid,
            file=file,
            reason="restore it from a backup, or have the instance sent again",
        )
        return FailureReason.PROCESSING_FAILURE

    def _digest(self, file: str, offset: int) -> str:
        with self.files.open(file) as stored:
            return data_set_digest(stored, offset)
