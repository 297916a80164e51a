"""Delivery to a destination that comes after others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from intu_fhir.db.following import first_missing
from intu_fhir.db.session import Database
from intu_fhir.model.outcome import Delivered, DeliveryOutcome
from intu_fhir.model.work import Claim, Follows, NotYet

Deliver: TypeAlias = Callable[[Claim], DeliveryOutcome | NotYet]
Announce: TypeAlias = Callable[[Claim], DeliveryOutcome | None]


@dataclass(frozen=True)
class AfterOthers:
    """Delivers once the destinations before have what this one is to get.

    Args:
        after: their names.
        deliver: what delivers then.
        announce: tells the destination of the study while it waits; None where it knows already.
        awaited: those of ``after`` that have to have promised to keep it, too.
    """

    database: Database
    after: tuple[str, ...]
    deliver: Deliver
    announce: Announce | None = None
    awaited: frozenset[str] = frozenset()

    def __call__(self, claim: Claim) -> DeliveryOutcome | NotYet | Follows:
        """Deliver, or wait for the first destination that lacks the study."""
        with self.database.read() as connection:
            missing = self._missing(connection, claim, self.after)
        if not missing:
            return self.deliver(claim)

        def still(connection: Any) -> bool:
            return bool(self._missing(connection, claim, (missing,)))

        announced = self.announce(claim) if self.announce else None
        if announced is None or isinstance(announced, Delivered):
            return Follows(missing, still, announced)
        return announced

    def _missing(self, connection: Any, claim: Claim, names: tuple[str, ...]) -> str:
        return first_missing(connection, claim.study_key, names, claim.want, self.awaited)
