"""Work as the staging database hands it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

AGGREGATE = "aggregate"
BUILD = "build"
DELIVER = "deliver"


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the queue, held under a lease.

    Args:
        step: ``aggregate``, ``build`` or ``deliver``.
        destination: where to, for ``deliver``; else empty.
        want: what is to be reached: a revision of the staged content for ``aggregate``,
            a generation for the other steps.
        have: what was reached before.
        attempts: failed tries so far.
        fence: number of this lease; a worker with an older one can write nothing.
    """

    key: int
    study_key: int
    study_instance_uid: str
    step: str
    destination: str
    want: int
    have: int
    attempts: int
    fence: int
    holder: str
    lease_until: datetime
