"""Put studies or deliveries back: what may be done again, and what is better left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from intu_fhir.db.replay import ReplayFilter, ReplayRow, build_again, find_rows, put_back
from intu_fhir.db.session import Database
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
    FILTERED: "the site's hook left it out; --rebuild asks the hook again",
}
"""Why a row of this state is not put back."""

NOT_SETTLED = "the study has not settled yet, it will be built anyway"


@dataclass(frozen=True, slots=True)
class ReplaySelection:
    """What a person wants back.

    Args:
        rebuild: build the studies again first, since the mapping changed.
        force: send again what the destination has.
        dry_run: only say what would be done.
    """

    filter: ReplayFilter = field(default_factory=ReplayFilter)
    rebuild: bool = False
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What is to be put back.

    Args:
        rows: deliveries and steps to make due.
        study_keys: studies to build again.
        left: number of the other rows that were found, by reason.
    """

    rows: tuple[ReplayRow, ...]
    study_keys: tuple[int, ...]
    left: Mapping[str, int]


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


def plan_replay(found: list[ReplayRow], *, rebuild: bool, force: bool, now: datetime) -> ReplayPlan:
    """Decide what becomes of the rows that a selection found."""
    if rebuild:
        ready = {row.study_key: None for row in found if row.generation > 0}
        waiting = {row.study_key for row in found} - set(ready)
        left = {NOT_SETTLED: len(waiting)} if waiting else {}
        return ReplayPlan((), tuple(ready), left)
    rows, reasons = [], Counter[str]()
    for row in found:
        if reason := _reason_to_leave(row, force=force, now=now):
            if row.step == DELIVER or row.state == HELD:
                reasons[reason] += 1
        else:
            rows.append(row)
    return ReplayPlan(tuple(rows), (), dict(reasons))


def _reason_to_leave(row: ReplayRow, *, force: bool, now: datetime) -> str:
    """Say why a row stays as it is, or return "" where it is to be put back."""
    if row.lease_until is not None and row.lease_until > now:
        return LEFT_ALONE[RUNNING]
    if row.state in {DEAD, RETRYING, RUNNING}:  # a running one without a lease was given up
        return ""
    if row.state == DELIVERED and force:
        return ""
    return LEFT_ALONE[row.state]


def replay(database: Database, clock: Clock, selection: ReplaySelection) -> Replayed:
    """Put back what a person selected.

    Never sends again what a destination has, unless ``force``; never lets a held study go.

    Raises:
        RefusedQuery: the predicate of the filter is not SQL that only reads.
    """
    now = clock.now()
    plan = plan_replay(
        find_rows(database, selection.filter),
        rebuild=selection.rebuild,
        force=selection.force,
        now=now,
    )
    if not selection.dry_run:
        _carry_out(database, plan, selection, now)
    return Replayed(
        deliveries=sum(row.step == DELIVER for row in plan.rows),
        steps=sum(row.step != DELIVER for row in plan.rows),
        studies=len(plan.study_keys),
        left=plan.left,
        dry_run=selection.dry_run,
    )


def _carry_out(
    database: Database, plan: ReplayPlan, selection: ReplaySelection, now: datetime
) -> None:
    already = [row for row in plan.rows if row.state == DELIVERED]
    failed = [row for row in plan.rows if row.state != DELIVERED]
    with database.write() as connection:
        put_back(connection, failed, again=False, now=now)
        put_back(connection, already, again=True, now=now)
        build_again(connection, plan.study_keys, now=now)
