"""What becomes of results of storage commitment: taken, told again later, or given up."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from intu_fhir.db import commitments as table
from intu_fhir.db.commitments import Due
from intu_fhir.db.session import Database
from intu_fhir.errors import StaleClaim, TransientError
from intu_fhir.model.commitment import CHECKED, CommitmentClaim, CommitmentResult
from intu_fhir.observe.clock import Clock
from intu_fhir.pipeline.retry import next_attempt_at
from intu_fhir.settings.schema import RetrySettings, StorageCommitment
from intu_fhir.stage.commitment import encode_event_information

if TYPE_CHECKING:
    from intu_fhir.deliver.commitment import CommitmentReporter
    from intu_fhir.receive.reporting import OpenRequesters

_log = structlog.get_logger("intu_fhir.commitment")
_UNKNOWN = "its instances are not known any more; the requester has to ask again"


@dataclass(frozen=True)
class CommitmentResults:
    """Results in the database, by whichever way they are told.

    What fails is told again later, by the site's retry settings.
    """

    database: Database
    clock: Clock
    settings: StorageCommitment
    retry: RetrySettings

    def claim(self, due: Due) -> tuple[CommitmentClaim, CommitmentResult] | None:
        """Take the result that has been due longest, or None where there is none to be told now.

        One whose instances were looked at too long ago, or of which staging knows better, is
        looked at again first. One that does not name every instance is never told: to its
        requester a result without failures means that all of them are safe (PS3.4 table J.3-4).
        """
        while (held := self._claim(due)) is not None:
            now = self.clock.now()
            with self.database.read() as connection:
                is_old = self._is_old(held, now) or table.is_known_to_be_gone(connection, held)
                result = None if is_old else table.result(connection, held)
            if result is None:
                with suppress(StaleClaim), self.database.write() as connection:
                    table.check_again(connection, held, now)
            elif result.number_of_instances == held.number_of_instances:
                return held, result
            else:
                self._not_told(held, _UNKNOWN, None)
        return None

    def _claim(self, due: Due) -> CommitmentClaim | None:
        now = self.clock.now()
        with self.database.read() as connection:
            if not table.is_due(connection, due, now):
                return None
        lease = 2 * self.settings.timeout_seconds + 60
        with self.database.write() as connection:
            return table.claim(connection, due, now, lease_seconds=lease)

    def _is_old(self, held: CommitmentClaim, now: datetime) -> bool:
        if held.checked_at is None:
            return False  # a repeat, of which nothing was looked at
        longest = timedelta(seconds=self.settings.check_again_seconds)
        return now > (held.holds_until or held.checked_at + longest)

    def taken(self, held: CommitmentClaim, *, committed: int, failed: int) -> None:
        """Note that the requester has taken a result."""
        try:
            with self.database.write() as connection:
                table.reported(connection, held, self.clock.now())
        except StaleClaim:
            return
        _log.info(
            "commitment_reported",
            calling_ae_title=held.requester.calling_ae_title,
            association=held.association_id,
            count=committed,
            refused=failed,
        )

    def put_back(self, held: CommitmentClaim) -> None:
        """Tell a result later that could not even be sent, which counts as no try."""
        soon = self.clock.now() + timedelta(seconds=self.retry.first_seconds)
        with suppress(StaleClaim), self.database.write() as connection:
            table.put_back(connection, held, soon)

    def failed(self, held: CommitmentClaim, reason: str) -> None:
        """Tell a result later that was not taken, or give it up."""
        now = self.clock.now()
        jitter = random.random()  # noqa: S311
        self._not_told(held, reason, next_attempt_at(self.retry, held.attempts + 1, now, jitter))

    def _not_told(self, held: CommitmentClaim, reason: str, later: datetime | None) -> None:
        with suppress(StaleClaim), self.database.write() as connection:
            if later is None:
                table.given_up(connection, held, reason)
            else:
                table.put_back(connection, held, later, error=reason)
        _log.warning(
            "commitment_not_reported",
            calling_ae_title=held.requester.calling_ae_title,
            association=held.association_id,
            attempt=held.attempts + 1,
            reason=reason,
        )


@dataclass(frozen=True)
class TellingFar:
    """Tells results on associations of our own; several threads share it.

    One requester is told one result at a time, so that a silent one keeps one thread waiting. Where
    an address has failed, an association that its requester has open in this process comes next: it
    would hardly ever have its turn if both were tried whenever a result is due.

    Args:
        reporters: by AE title, requesters that have an address.
        here: associations that are open in this process.
    """

    results: CommitmentResults
    reporters: dict[str, CommitmentReporter]
    here: OpenRequesters
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _busy: set[str] = field(default_factory=set)

    def tell_some(self) -> int:
        """Tell the oldest result; return how many were worked on."""
        with self._claimed() as claimed:
            if claimed is None:
                return 0
            held, result = claimed
            try:
                self._report(held, result)
            except TransientError as error:
                self.results.failed(held, str(error))
            else:
                committed, failed = len(result.committed), len(result.failed)
                self.results.taken(held, committed=committed, failed=failed)
            return 1

    @contextmanager
    def _claimed(self) -> Iterator[tuple[CommitmentClaim, CommitmentResult] | None]:
        with self._lock:
            claimed = None
            if titles := sorted(self.reporters.keys() - self._busy):
                due = Due(CHECKED, titles=titles, once=sorted(self.here.free()))
                claimed = self.results.claim(due)
            title = claimed[0].requester.calling_ae_title if claimed else ""
            self._busy.add(title)
        try:
            yield claimed
        finally:
            with self._lock:
                self._busy.discard(title)

    def _report(self, held: CommitmentClaim, result: CommitmentResult) -> None:
        requester = held.requester
        encode = partial(encode_event_information, result)
        self.reporters[requester.calling_ae_title].report(
            requester.called_ae_title, requester.calling_ae_title, result.event_type_id, encode
        )
