"""Put studies or deliveries back: what may be done again, and what is better left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from intu_fhir.db.audit import record_audit
from intu_fhir.db.failures import build_keys
from intu_fhir.db.replay import (
    ReplayFilter,
    ReplayQuery,
    ReplayRow,
    build_again,
    put_back,
    take_in_turn,
)
from intu_fhir.db.session import Database
from intu_fhir.model.audit import Action, Actor, AuditEvent
from intu_fhir.model.work import (
    DEAD,
    DELIVER,
    DELIVERED,
    DONE,
    FILTERED,
    HELD,
    RETRYING,
    RUNNING,
    WAITING,
)
from intu_fhir.observe.clock import Clock

LEFT_ALONE: Mapping[str, str] = {
    DELIVERED: "the destination has it; --force sends it again",
    DONE: "the step is done; --rebuild builds again",
    WAITING: "it is due already",
    RUNNING: "it is being worked on now",
    HELD: "it is held; release it with `holds release`",
    FILTERED: "it is left out on purpose; --rebuild judges it again",
}
"""Why a row of this state is not put back."""

CHANGED = "it changed while this was being done; look at it again"

_HANDFUL_SECONDS = 5
"""How finely a pace is kept."""

STUDIES_AT_A_TIME = 1_000
"""Studies of one transaction of a rebuild. One that settles meanwhile waits for it, and holds up
the senders of its images and whoever settles.
"""

RETRIABLE = frozenset({DEAD, RETRYING, RUNNING})
"""States that are put back; a running row only where its worker is gone."""

NOT_SETTLED = "the study has not settled yet, it will be built anyway"


@dataclass(frozen=True, slots=True)
class ReplaySelection:
    """What a person wants back.

    Args:
        rebuild: build the studies again first, since the mapping changed.
        force: send again what the destination has.
        dry_run: only say what would be done.
        per_minute: how many become due within a minute; None = all at once.
        by: who asks for it, for the audit trail; empty = whoever calls tells it itself.
        address: where they come from, where they are not at the machine.
        reason: why, in the words of who asks.
    """

    filter: ReplayFilter = field(default_factory=ReplayFilter)
    rebuild: bool = False
    force: bool = False
    dry_run: bool = False
    per_minute: float | None = None
    by: str = ""
    address: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was done.

    Args:
        deliveries: deliveries made due, or to be made due in a dry run.
        steps: steps before delivery made due.
        studies: studies to be built again.
        left: number of the other rows that were found, by reason.
    """

    deliveries: int
    steps: int
    studies: int
    left: Mapping[str, int]
    dry_run: bool = False

    @property
    def number(self) -> int:
        """How much was put back, or would be."""
        return self.deliveries + self.steps + self.studies


def replay(database: Database, clock: Clock, selection: ReplaySelection) -> Replayed:
    """Put back what a person selected.

    Never sends again what a destination has, unless ``force``; never lets a held study go.

    Raises:
        RefusedQuery: the predicate of the filter is not SQL that only reads.
    """
    query = ReplayQuery(database, selection.filter)
    act = _rebuild if selection.rebuild else _put_back
    return act(database, query, selection, clock.now())


def _states(*, force: bool) -> frozenset[str]:
    """Return the states of what is put back."""
    return RETRIABLE | {DELIVERED} if force else RETRIABLE


def chosen_rows(
    database: Database, selection: ReplaySelection
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the keys of the deliveries, and of the steps before, that are put back.

    Raises:
        RefusedQuery: the predicate of the filter is not SQL that only reads.
    """
    query = ReplayQuery(database, selection.filter)
    if selection.rebuild:
        ready = [key for key, generation in query.studies().items() if generation > 0]
        with database.read() as connection:
            return [], build_keys(connection, ready)
    rows = query.rows(_states(force=selection.force))
    return (
        [row.key for row in rows if row.step == DELIVER],
        [row.key for row in rows if row.step != DELIVER],
    )


def _rebuild(
    database: Database, query: ReplayQuery, selection: ReplaySelection, now: datetime
) -> Replayed:
    studies = query.studies()
    ready = [study_key for study_key, generation in studies.items() if generation > 0]
    for begin in range(0, 0 if selection.dry_run else len(ready), STUDIES_AT_A_TIME):
        some = ready[begin : begin + STUDIES_AT_A_TIME]
        with database.write() as connection:
            build_again(connection, some, now=now)
            _tell(connection, selection, Action.REBUILT, len(some), now)
    waiting = len(studies) - len(ready)
    left = {NOT_SETTLED: waiting} if waiting else {}
    return Replayed(0, 0, len(ready), left, selection.dry_run)


def _put_back(
    database: Database, query: ReplayQuery, selection: ReplaySelection, now: datetime
) -> Replayed:
    found = query.rows(_states(force=selection.force))
    left = reasons_to_leave(query.counts(), force=selection.force)
    rows = [row for row in found if not is_in_hand(row, now)]
    if in_hand := len(found) - len(rows):
        left[LEFT_ALONE[RUNNING]] = in_hand
    if not selection.dry_run:
        done = _act(database, rows, selection, now)
        if changed := len(rows) - len(done):
            left[CHANGED] = changed
        rows = done
    deliveries = sum(row.step == DELIVER for row in rows)
    return Replayed(deliveries, len(rows) - deliveries, 0, left, selection.dry_run)


def _act(
    database: Database, rows: Sequence[ReplayRow], selection: ReplaySelection, now: datetime
) -> list[ReplayRow]:
    """Put rows back and tell the audit trail; return those that were."""
    done: list[ReplayRow] = []
    with database.write() as connection:
        take_in_turn(connection, rows)
        for some, due_at in _paced(rows, selection.per_minute, now):
            already = [row for row in some if row.state == DELIVERED]
            failed = [row for row in some if row.state != DELIVERED]
            done += put_back(connection, failed, again=False, now=now, due_at=due_at)
            done += put_back(connection, already, again=True, now=now, due_at=due_at)
        _tell(connection, selection, Action.REPLAYED, len(done), now)
    return done


def _paced(
    rows: Sequence[ReplayRow], per_minute: float | None, now: datetime
) -> Iterator[tuple[Sequence[ReplayRow], datetime]]:
    """Give the rows in handfuls with the time when each becomes due."""
    if per_minute is None:
        yield rows, now
        return
    size = max(1, int(per_minute * _HANDFUL_SECONDS / 60))
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size], now + timedelta(minutes=begin / per_minute)


def _tell(
    connection: Any, selection: ReplaySelection, action: Action, number: int, now: datetime
) -> None:
    """Record who put back how much, and why, in the transaction that does it."""
    if not selection.by or not number:
        return
    event = AuditEvent(
        action,
        now,
        selection.by,
        Actor.PERSON,
        address=selection.address,
        study_instance_uid=selection.filter.study_instance_uid or "",
        destination=selection.filter.destination or "",
        objects=number,
        reason=selection.reason,
    )
    record_audit(connection, event)


def is_in_hand(row: ReplayRow, now: datetime) -> bool:
    """Say whether a worker holds a row; one whose lease ran out was given up."""
    return row.lease_until is not None and row.lease_until > now


def reasons_to_leave(counts: Mapping[tuple[bool, str], int], *, force: bool) -> dict[str, int]:
    """Say why rows are not put back, counted by reason; a step that goes its way is no news."""
    put_back_states = _states(force=force)
    left = Counter[str]()
    for (is_delivery, state), number in counts.items():
        if state not in put_back_states and (is_delivery or state == HELD):
            left[LEFT_ALONE[state]] += number
    return dict(left)
