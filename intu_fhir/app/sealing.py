"""Seals the audit trail while a site runs, and notes in the log where its chain ends."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from intu_fhir.db.audit import AT_A_TIME, seal
from intu_fhir.db.session import Database
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.audit")
NOTE_SECONDS = 60.0


@dataclass
class Sealing:
    """A chore: gives waiting rows of the audit trail their place in the chain.

    The log usually leaves the machine. A seal that is noted there cannot be taken back by who
    rules the database (``intu-fhir audit verify --seal``).
    """

    database: Database
    clock: Clock
    _noted: float | None = None

    def __call__(self) -> int:
        """Seal what waits; return how much is left to do at once, as far as that is known.

        A batch that is not full can wait for company: each one costs a wait for the disk.
        """
        end = seal(self.database)
        if end is None:
            return 0
        now = self.clock.monotonic()
        if self._noted is None or now - self._noted >= NOTE_SECONDS:
            self._noted = now
            _log.info("audit_sealed", count=end.sealed, detail=f"{end.position}:{end.hash}")
        return end.sealed if end.sealed == AT_A_TIME else 0
