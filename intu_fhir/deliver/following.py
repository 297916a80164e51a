"""Delivery to a destination that comes after others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from intu_fhir.db.following import first_missing
from intu_fhir.db.session import Database
from intu_fhir.model.outcome import DeliveryOutcome
from intu_fhir.model.work import Claim, Follows, NotYet

Deliver: TypeAlias = Callable[[Claim], DeliveryOutcome | NotYet]


@dataclass(frozen=True)
class AfterOthers:
    """Delivers once the destinations before have what this one is to get.

    Args:
        after: their names.
        deliver: what delivers then.
    """

    database: Database
    after: tuple[str, ...]
    deliver: Deliver

    def __call__(self, claim: Claim) -> DeliveryOutcome | NotYet | Follows:
        """Deliver, or wait for the first destination that lacks the study."""
        with self.database.read() as connection:
            missing = first_missing(connection, claim.study_key, self.after, claim.want)
        if not missing:
            return self.deliver(claim)

        def still(connection: Any) -> bool:
            return bool(first_missing(connection, claim.study_key, (missing,), claim.want))

        return Follows(missing, still)
