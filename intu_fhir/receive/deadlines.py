"""How long a peer may take, on the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from intu_fhir.settings.schema import Receiver


class Overdue(StrEnum):
    """The deadline that passed."""

    ASSOCIATE = "no_association_request"
    PDU = "pdu_not_completed"
    IDLE = "idle"
    LIFETIME = "association_lifetime"


LIMIT_OF = {
    Overdue.ASSOCIATE: "handshake_seconds",
    Overdue.PDU: "pdu_seconds",
    Overdue.IDLE: "idle_seconds",
    Overdue.LIFETIME: "association_seconds",
}
"""The setting behind each deadline."""


@dataclass(slots=True)
class Deadlines:
    """The deadlines of one connection; all times in seconds of the monotonic clock.

    Args:
        opened: when the connection was accepted.
    """

    limits: Receiver
    opened: float
    _associated: float | None = None
    _heard: float = 0.0
    _open_pdu: int = 0
    _pdu_begun: float = 0.0
    _results_until: float = 0.0

    def associated(self, now: float) -> None:
        """Start the association's lifetime."""
        self._associated = self._heard = now

    def heard(self, now: float, open_pdu: int) -> None:
        """Note that bytes came and were dealt with.

        Args:
            open_pdu: number of the PDU that has begun and not ended; 0 for none.
        """
        self._heard = now
        if open_pdu != self._open_pdu:
            self._open_pdu, self._pdu_begun = open_pdu, now

    def wait_for_results(self, until: float) -> None:
        """Let the peer be silent until then: it has asked for something and waits for us."""
        self._results_until = until

    def overdue(self, now: float) -> Overdue | None:
        """Return the deadline that has passed, if one has."""
        if self._associated is None:
            return Overdue.ASSOCIATE if now > self.opened + self.limits.handshake_seconds else None
        if self._open_pdu and now > self._pdu_begun + self.limits.pdu_seconds:
            return Overdue.PDU
        if now > max(self._heard + self.limits.idle_seconds, self._results_until):
            return Overdue.IDLE
        if now > self._associated + self.limits.association_seconds:
            return Overdue.LIFETIME
        return None
