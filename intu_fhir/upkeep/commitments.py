"""Ends requests for storage commitment that nobody comes for, and forgets old ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from intu_fhir.db.commitment_upkeep import forget_some, give_up_untaken, oldest_kept
from intu_fhir.db.session import Database
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import StorageCommitment

_log = structlog.get_logger("intu_fhir.upkeep")
_EVERY_SECONDS = 60.0


@dataclass
class CommitmentUpkeep:
    """A chore: a little at a time, so that nobody waits for it; once a minute where none is left.

    Any number of processes may do it at once.
    """

    database: Database
    clock: Clock
    settings: StorageCommitment
    _next: float = 0.0
    _kept_from: datetime | None = None

    def do_some(self) -> int:
        """Change some rows; return how many, 0 where there is nothing to do now."""
        if self.clock.monotonic() < self._next:
            return 0
        done = self._give_up() or self._forget()
        if not done:
            self._next = self.clock.monotonic() + _EVERY_SECONDS
        return done

    def _give_up(self) -> int:
        now, days = self.clock.now(), self.settings.tell_days
        error = f"not taken within {days:g} days"
        with self.database.write() as connection:
            titles = give_up_untaken(connection, now - timedelta(days=days), now, error=error)
        for title, count in Counter(titles).items():
            _log.warning("commitment_not_taken", calling_ae_title=title, count=count, reason=error)
        return len(titles)

    def _forget(self) -> int:
        """Forget what is old or too much: who asks in a circle fills no disk.

        What that is, is found out once for all of it.
        """
        if self._kept_from is None:
            self._kept_from = self._oldest_kept()
        with self.database.write() as connection:
            gone = forget_some(connection, self._kept_from)
        if not gone:
            self._kept_from = None
        return gone

    def _oldest_kept(self) -> datetime:
        young = self.clock.now() - timedelta(days=self.settings.keep_days)
        with self.database.read() as connection:
            within = oldest_kept(connection, self.settings.max_kept_instances)
        return young if within is None else max(young, within)
