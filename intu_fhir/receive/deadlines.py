"""How long a peer may take, on the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from intu_fhir.settings.schema import Receiver


class Overdue(StrEnum):
    """The deadline that passed."""

    ASSOCIATE = "no_association_request"
    PDU = "pdu_not_completed"
    MESSAGE = "message_without_progress"
    IDLE = "idle"
    LIFETIME = "association_lifetime"


LIMIT_OF = {
    Overdue.ASSOCIATE: "handshake_seconds",
    Overdue.PDU: "pdu_seconds",
    Overdue.MESSAGE: "message_seconds",
    Overdue.IDLE: "idle_seconds",
    Overdue.LIFETIME: "association_seconds",
}
"""The setting behind each deadline."""

PROGRESS_BYTES = 65_536
"""So much of a message, or its end, has to come in ``message_seconds``."""


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
    _inside_message: bool = False
    _waited: float = 0.0
    _brought: int = 0

    def associated(self, now: float) -> None:
        """Start the association's lifetime."""
        self._associated = self._heard = now
        self.message_begun()

    def arrived(self, now: float, count: int) -> None:
        """Note that ``count`` bytes came, which are dealt with next."""
        self._waited += now - self._heard
        self._brought += count

    def message_begun(self) -> None:
        """Give a message all of its time, however long the one before it took."""
        self._waited, self._brought = 0.0, 0

    def heard(self, now: float, open_pdu: int, *, inside_message: bool = False) -> None:
        """Note that what came was dealt with.

        Inside a message the peer has made progress only where enough came: else whole PDUs of a
        byte each would keep an association open for its whole life. The time that we took is
        not the peer's.

        Args:
            open_pdu: number of the PDU that has begun and not ended; 0 for none.
            inside_message: a message has begun and not ended.
        """
        self._heard, self._inside_message = now, inside_message
        if not inside_message or self._brought >= PROGRESS_BYTES:
            self._waited, self._brought = 0.0, 0
        if open_pdu != self._open_pdu:
            self._open_pdu, self._pdu_begun = open_pdu, now

    def wait_for_results(self, until: float) -> None:
        """Let the peer be silent until then: it has asked for something and waits for us."""
        self._results_until = until

    @property
    def progressed(self) -> float:
        """Return since when the peer has made no progress."""
        return self._heard - self._waited

    def overdue(self, now: float) -> Overdue | None:
        """Return the deadline that has passed, if one has."""
        if self._associated is None:
            return Overdue.ASSOCIATE if now > self.opened + self.limits.handshake_seconds else None
        if self._open_pdu and now > self._pdu_begun + self.limits.pdu_seconds:
            return Overdue.PDU
        if self._inside_message and now > self.progressed + self.limits.message_seconds:
            return Overdue.MESSAGE
        if now > max(self._heard + self.limits.idle_seconds, self._results_until):
            return Overdue.IDLE
        if now > self._associated + self.limits.association_seconds:
            return Overdue.LIFETIME
        return None
