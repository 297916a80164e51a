"""How the five steps stand: what waits, since when, and how fast it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.holds import NEEDS_REBUILD
from intu_fhir.db.kept_back import KeptBack, kept_back
from intu_fhir.db.refused import Refused, refused_lately
from intu_fhir.db.tables import (
    associations,
    attempts,
    deliveries,
    generations,
    holds,
    instances,
    quarantine,
    resources,
    studies,
    work,
)
from intu_fhir.model.work import AGGREGATE, BUILD, DEAD, DELIVER, DELIVERED, HELD

RATE_OVER = timedelta(hours=1)
"""Rates are taken over so long."""


@dataclass(frozen=True, slots=True)
class QueueCount:
    """Rows of the queue in one state.

    Args:
        step: aggregate, build or deliver.
        destination: for deliver; else empty.
        oldest: since when the one is so that has been longest; a failing one since it began to.
    """

    step: str
    destination: str
    state: str
    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """Work that is due and that nobody has taken, though somebody could have.

    What is due to a destination that is paused, or that does not answer, waits for that.
    """

    step: str
    destination: str
    count: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """The five steps at one moment.

    Args:
        kept_back: destinations that are paused, down or recovering.
        undescribed: instances whose complete header is still to be read.
        associations_since: when the one began that has been open for longest.
        rates: what was done in the last hour: ``associations`` begun,
            ``instances``, ``settled``, ``built``, ``delivered`` and ``failed`` tries.
        held: studies and deliveries that wait for a person.
        quarantined: objects put aside in the last day.
        refused: who was refused objects in the last day.
        held_in: holds by the step that found a reason: what contradicts itself in aggregate, what
            was built with errors in build, what a destination does not agree with in deliver.
    """

    studies: int
    associations_open: int
    associations_since: datetime | None
    last_received: datetime | None
    undescribed: int
    undescribed_since: datetime | None
    queue: Sequence[QueueCount]
    overdue: Sequence[Overdue]
    kept_back: Sequence[KeptBack]
    rates: dict[str, int]
    held: int
    held_since: datetime | None
    quarantined: int
    refused: Sequence[Refused] = ()
    held_in: dict[str, int] = field(default_factory=dict)


def overview(connection: Connection, now: datetime) -> Overview:
    """Return how the steps stand."""
    undescribed, undescribed_since = _undescribed(connection)
    held_in, held_since = _held(connection)
    associations_open, associations_since = _open_associations(connection, now)
    kept = kept_back(connection, now)
    return Overview(
        studies=_count(connection, studies),
        associations_open=associations_open,
        associations_since=associations_since,
        last_received=connection.execute(
            sa.select(sa.func.max(studies.c.last_received_at))
        ).scalar_one(),
        undescribed=undescribed,
        undescribed_since=undescribed_since,
        queue=[*_open(connection), *_dead(connection)],
        overdue=_overdue(connection, kept, now),
        kept_back=kept,
        rates=_rates(connection, now - RATE_OVER),
        held=sum(held_in.values()),
        held_since=held_since,
        quarantined=_count(
            connection, quarantine, quarantine.c.received_at >= now - timedelta(days=1)
        ),
        refused=refused_lately(connection, now),
        held_in=held_in,
    )


def _count(connection: Connection, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    counted = sa.select(sa.func.count()).select_from(table).where(*conditions)
    return int(connection.execute(counted).scalar_one())


def _open_associations(connection: Connection, now: datetime) -> tuple[int, datetime | None]:
    """Count associations that are open; one of more than a day is a lost one."""
    c = associations.c
    counted = sa.select(sa.func.count(), sa.func.min(c.started_at)).where(
        c.started_at >= now - timedelta(days=1), c.ended_at.is_(None)
    )
    number, since = connection.execute(counted).one()
    return int(number), since


def _undescribed(connection: Connection) -> tuple[int, datetime | None]:
    c = instances.c
    counted = sa.select(sa.func.count(), sa.func.min(c.received_at)).where(c.described_at.is_(None))
    number, since = connection.execute(counted).one()
    return int(number), since


def _held(connection: Connection) -> tuple[dict[str, int], datetime | None]:
    """Count open holds by step."""
    c = holds.c
    rows = connection.execute(
        sa.select(c.destination, c.reason, sa.func.count(), sa.func.min(c.held_at))
        .where(c.released_at.is_(None))
        .group_by(c.destination, c.reason)
    )
    counted = Counter[str]()
    since: datetime | None = None
    for destination, reason, number, first in rows:
        counted[_step_of(destination, reason)] += number
        since = min(since or first, first)
    return dict(counted), since


def _step_of(destination: str, reason: str) -> str:
    if not destination:
        return AGGREGATE
    return BUILD if reason in NEEDS_REBUILD else DELIVER


def _open(connection: Connection) -> list[QueueCount]:
    """Count what is due now or later, by the index of due rows."""
    found: list[QueueCount] = []
    for queue, step, destination in _QUEUES:
        since = sa.func.min(sa.func.coalesce(queue.c.first_failed_at, queue.c.updated_at))
        rows = connection.execute(
            sa.select(step, destination, queue.c.state, sa.func.count(), _time(since))
            .where(queue.c.due_at.is_not(None))
            .group_by(_named(queue), queue.c.state)
        )
        found += [QueueCount(*row) for row in rows]
    return found


def _dead(connection: Connection) -> list[QueueCount]:
    """Count dead letters and held deliveries, by the indexes of states."""
    found: list[QueueCount] = []
    for queue, step, destination in _QUEUES:
        states = (DEAD, HELD) if queue is deliveries else (DEAD,)
        since = sa.func.min(sa.func.coalesce(queue.c.first_failed_at, queue.c.updated_at))
        for state in states:
            rows = connection.execute(
                sa.select(step, destination, queue.c.state, sa.func.count(), _time(since))
                .where(queue.c.state == sa.literal_column(f"'{state}'"))
                .group_by(_named(queue), queue.c.state)
            )
            found += [QueueCount(*row) for row in rows]
    return found


def _time(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Read an expression as a time of ours."""
    return sa.type_coerce(expression, work.c.updated_at.type)


_QUEUES: tuple[tuple[sa.Table, sa.ColumnElement[Any], sa.ColumnElement[Any]], ...] = (
    (work, work.c.step, sa.literal_column("''")),
    (deliveries, sa.literal_column("'deliver'"), deliveries.c.destination),
)


def _named(queue: sa.Table) -> sa.ColumnElement[Any]:
    """Return what names a queue: PostgreSQL groups by no constant."""
    return work.c.step if queue is work else deliveries.c.destination


def _overdue(connection: Connection, kept: Sequence[KeptBack], now: datetime) -> list[Overdue]:
    by_name = {one.destination: one for one in kept}
    found = (_could_go(one, by_name.get(one.destination), now) for one in _due(connection, now))
    return [one for one in found if one is not None]


def _could_go(due: Overdue, kept: KeptBack | None, now: datetime) -> Overdue | None:
    """Return what could go, since when: to who does not answer it is a probe that could."""
    if kept is None:
        return due
    if kept.next_probe_at is None or kept.next_probe_at > now:
        return None
    return replace(due, count=1, since=max(due.since, kept.next_probe_at))


def _due(connection: Connection, now: datetime) -> Iterator[Overdue]:
    for queue, step, destination in _QUEUES:
        free = sa.or_(queue.c.lease_until.is_(None), queue.c.lease_until <= now)
        rows = connection.execute(
            sa.select(step, destination, sa.func.count(), sa.func.min(queue.c.due_at))
            .where(queue.c.due_at.is_not(None), queue.c.due_at <= now, free)
            .group_by(_named(queue))
        )
        yield from (Overdue(*row) for row in rows)


def _rates(connection: Connection, since: datetime) -> dict[str, int]:
    good = sa.func.count().filter(attempts.c.outcome == DELIVERED)
    tried = sa.select(good, sa.func.count()).where(attempts.c.ended_at >= since)
    delivered, tries = connection.execute(tried).one()
    return {
        "associations": _count(connection, associations, associations.c.started_at >= since),
        "instances": _count(connection, instances, instances.c.received_at >= since),
        AGGREGATE: _count(connection, generations, generations.c.settled_at >= since),
        BUILD: _count(connection, resources, resources.c.built_at >= since),
        DELIVERED: delivered,
        DEAD: tries - delivered,
    }
