"""Results of storage commitment, to whoever asked: the way there depends on the requester."""

from __future__ import annotations

import random
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from intu_fhir.db import commitments as table
from intu_fhir.db.session import Database
from intu_fhir.errors import StaleClaim, TransientError
from intu_fhir.model.commitment import CHECKED, CommitmentClaim, CommitmentResult
from intu_fhir.observe.clock import Clock
from intu_fhir.pipeline.retry import next_attempt_at
from intu_fhir.receive.reporting import NotReported, OpenRequesters, Report
from intu_fhir.settings.schema import RetrySettings, StorageCommitment
from intu_fhir.stage.commitment import encode_event_information

if TYPE_CHECKING:
    from intu_fhir.deliver.commitment import CommitmentReporter

_log = structlog.get_logger("intu_fhir.commitment")


@dataclass(frozen=True)
class CommitmentResults:
    """Tells results; what fails is told again later, by the site's retry settings.

    Args:
        reporters: by AE title, requesters that have an address of their own.
        requesters: associations that requesters without one have opened here.
    """

    database: Database
    clock: Clock
    settings: StorageCommitment
    retry: RetrySettings
    reporters: dict[str, CommitmentReporter]
    requesters: OpenRequesters

    def tell_far(self) -> int:
        """Tell the oldest result on a new association; return how many were worked on."""
        return self._tell(self.reporters.keys()) if self.reporters else 0

    def tell_here(self) -> int:
        """Tell the oldest result on an association that its requester has open in this process."""
        here = self.requesters.titles() - self.reporters.keys()
        return self._tell(here) if here else 0

    def _tell(self, requesters: Collection[str]) -> int:
        held = self._claim(sorted(requesters))
        if held is None:
            return 0
        try:
            with self.database.read() as connection:
                result = table.result(connection, held)
            self._report(held, result)
        except NotReported as error:
            self._not_here(held, str(error))
        except TransientError as error:
            self._failed(held, str(error))
        else:
            self._done(held, result)
        return 1

    def _claim(self, requesters: Collection[str]) -> CommitmentClaim | None:
        now = self.clock.now()
        with self.database.read() as connection:
            if not table.is_due(connection, CHECKED, now, requesters):
                return None
        lease = 2 * self.settings.timeout_seconds + 60
        with self.database.write() as connection:
            return table.claim(connection, CHECKED, now, lease_seconds=lease, requesters=requesters)

    def _report(self, held: CommitmentClaim, result: CommitmentResult) -> None:
        encode = partial(encode_event_information, result)
        reporter = self.reporters.get(held.requester)
        if reporter is not None:
            reporter.report(held.called, held.requester, result.event_type_id, encode)
            return
        report = Report(result.event_type_id, encode)
        status = self.requesters.report(
            held.requester, held.association_id, report, self.settings.timeout_seconds
        )
        if status != 0:
            raise TransientError(f"The requester answers {status:04X}")

    def _done(self, held: CommitmentClaim, result: CommitmentResult) -> None:
        try:
            with self.database.write() as connection:
                table.reported(connection, held, self.clock.now())
        except StaleClaim:
            return
        _log.info(
            "commitment_reported",
            calling_ae_title=held.requester,
            association=held.association_id,
            count=len(result.committed),
            refused=len(result.failed),
        )

    def _not_here(self, held: CommitmentClaim, reason: str) -> None:
        """Wait for the requester: it may open an association at any time, or never."""
        soon = self.clock.now() + timedelta(seconds=self.retry.first_seconds)
        with suppress(StaleClaim), self.database.write() as connection:
            table.put_back(connection, held, soon)
        self._log_failure(held, reason)

    def _failed(self, held: CommitmentClaim, reason: str) -> None:
        now = self.clock.now()
        jitter = random.random()  # noqa: S311
        later = next_attempt_at(self.retry, held.attempts + 1, now, jitter)
        with suppress(StaleClaim), self.database.write() as connection:
            if later is None:
                table.given_up(connection, held, reason)
            else:
                table.put_back(connection, held, later, error=reason)
        self._log_failure(held, reason)

    def _log_failure(self, held: CommitmentClaim, reason: str) -> None:
        _log.warning(
            "commitment_not_reported",
            calling_ae_title=held.requester,
            association=held.association_id,
            attempt=held.attempts + 1,
            reason=reason,
        )
