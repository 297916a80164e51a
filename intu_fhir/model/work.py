"""Work as the staging database hands it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from intu_fhir.model.outcome import Delivered
from intu_fhir.model.settling import StudyHold

AGGREGATE = "aggregate"
BUILD = "build"
DELIVER = "deliver"

# States of a row of the queue; ``docs/reference/schema.md`` explains them to readers of SQL.
WAITING, RUNNING, RETRYING = "waiting", "running", "retrying"
DONE, DELIVERED, DEAD, HELD, FILTERED = "done", "delivered", "dead", "held", "filtered"
LACKING = (WAITING, RUNNING, RETRYING, DEAD, HELD)
"""States of a delivery whose destination has not got what it is to get."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the queue, held under a lease.

    Args:
        step: ``aggregate``, ``build`` or ``deliver``.
        destination: where to, for ``deliver``; else empty.
        want: what is to be reached: a revision of the staged content for ``aggregate``,
            a generation for the other steps.
        have: what was reached before.
        due_at: when it was due; another time in its row means that it was asked for again.
        attempts: failed tries so far.
        fence: number of this lease; a worker with an older one can write nothing.
        backlog: it failed or was put back before; fresh work goes first.
        trace_parent: span of what asked for it, where that is traced (``observe.tracing``).
    """

    key: int
    study_key: int
    study_instance_uid: str
    step: str
    destination: str
    want: int
    have: int
    due_at: datetime
    attempts: int
    fence: int
    holder: str
    lease_until: datetime
    backlog: bool = False
    trace_parent: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """The rows that one kind of worker takes.

    Args:
        destination: for ``deliver``, the destination it serves.
        limit: how many of them may be worked on at once, over all processes.
        per_minute: how many may be begun within a minute, over all processes.
    """

    step: str
    destination: str = ""
    limit: int | None = None
    per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryWish:
    """What ``build`` wants of one destination.

    Args:
        state: ``waiting`` to deliver, ``held`` or ``filtered`` to keep it back.
        again: look again even where this generation was delivered, since a changed mapping
            may have built something else; equal content is not sent.
        hold: why it is held, for this destination alone.
        reason: why it is left out, where it is.
    """

    state: str
    again: bool = False
    hold: StudyHold | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A step reached what was wanted.

    Args:
        record: writes what the step found, in the transaction that ends its lease.
        generation: what the next step should reach.
        deliveries: for ``build``: what is wanted of each destination.
    """

    record: Callable[[Any], None]
    generation: int
    deliveries: Mapping[str, DeliveryWish] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotYet:
    """It is too early; look again at ``until``.

    Args:
        reason: what it waits for, where a person should see that.
    """

    until: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Follows:
    """It comes after another destination that does not have the study yet; nobody looks again
    until that has it.

    Args:
        destination: the other one.
        still: reads, in the transaction that ends the lease, whether that is still so.
        announced: what came of telling the destination meanwhile that the study exists.
    """

    destination: str
    still: Callable[[Any], bool]
    announced: Delivered | None = None
