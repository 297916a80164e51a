"""Keeps a study in this worker's hands while it is being sent, however long that takes."""

from __future__ import annotations

from datetime import timedelta

from intu_fhir.db import work
from intu_fhir.db.session import Database
from intu_fhir.errors import StaleClaim
from intu_fhir.model.work import Claim
from intu_fhir.observe.clock import Clock


class Lease:
    """The lease of one claim, renewed when a third of it has passed."""

    def __init__(
        self, database: Database, clock: Clock, claim: Claim, lease_seconds: float
    ) -> None:
        self._database, self._clock, self._claim = database, clock, claim
        self._seconds = lease_seconds
        self._renew_at = clock.now() + timedelta(seconds=lease_seconds / 3)

    def keep(self) -> bool:
        """Say whether the study is still ours to send; asked between two requests."""
        now = self._clock.now()
        if now < self._renew_at:
            return True
        try:
            with self._database.write() as connection:
                work.renew(connection, self._claim, now=now, lease_seconds=self._seconds)
        except StaleClaim:
            return False
        self._renew_at = now + timedelta(seconds=self._seconds / 3)
        return True
