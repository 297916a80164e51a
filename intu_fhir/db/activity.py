"""What a day looked like: instances and studies by time, how long they took, what failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.log_beginnings import removed_until
from intu_fhir.db.tables import attempts, deliveries, generations, instances, studies
from intu_fhir.model.work import DELIVERED

SAMPLE = 20_000
"""Most deliveries whose times are looked at; of more than that a part stands for all."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one delivery took, from the last image of the study to the destination's word."""

    delivered_at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Activity:
    """A stretch of time; the numbers stand by the start of their interval in epoch seconds.

    Args:
        instances: stored, by when they came: an association may last for hours.
        studies: settled.
        failures: tries that failed, by destination.
        latencies: of the FHIR destinations.
        share: the part of all deliveries that ``latencies`` holds, 1 = all.
    """

    instances: dict[int, int]
    studies: dict[int, int]
    failures: dict[str, dict[int, int]]
    latencies: Sequence[Latency]
    share: float


def activity(
    connection: Connection,
    since: datetime,
    until: datetime,
    *,
    seconds: int,
    failure_seconds: int,
    ehrs: Collection[str],
) -> Activity:
    """Return what happened between two times.

    Args:
        since: the start of an interval of either length.
        seconds: length of an interval for instances and studies.
        failure_seconds: the same for failures.
        ehrs: names of the FHIR destinations.
    """
    latencies, share = _latencies(connection, since, ehrs)
    return Activity(
        instances=_counts(connection, instances.c.received_at, since, until, seconds),
        studies=_counts(connection, generations.c.settled_at, since, until, seconds),
        failures=_failures(connection, since, failure_seconds),
        latencies=latencies,
        share=share,
    )


def _interval(time: sa.ColumnElement[Any], seconds: int) -> sa.ColumnElement[Any]:
    """Return the number of the interval that a time is in; the numbers of both are whole."""
    whole = sa.cast(sa.extract("epoch", time), sa.BigInteger)
    return whole.op("/", return_type=sa.BigInteger())(sa.literal_column(str(seconds)))


def _counts(
    connection: Connection, time: sa.Column[Any], since: datetime, until: datetime, seconds: int
) -> dict[int, int]:
    """Count rows by interval, each interval as one stretch of the index of the time.

    SQLite counts a million rows so in a tenth of the time that it takes to sort them into
    intervals.
    """
    begin = sa.bindparam("begin", type_=time.type)
    end = sa.bindparam("end", type_=time.type)
    counted = sa.select(sa.func.count()).where(time >= begin, time < end)
    step, found, at = timedelta(seconds=seconds), {}, since
    while at < until:
        number = connection.execute(counted, {"begin": at, "end": at + step}).scalar_one()
        found[int(at.timestamp())] = int(number)
        at += step
    return {at: number for at, number in found.items() if number}


def _failures(connection: Connection, since: datetime, seconds: int) -> dict[str, dict[int, int]]:
    c = attempts.c
    interval = _interval(c.ended_at, seconds)
    rows = connection.execute(
        sa.select(deliveries.c.destination, interval, sa.func.count())
        .join_from(attempts, deliveries, deliveries.c.delivery_key == c.delivery_key)
        .where(c.ended_at >= since, c.outcome != DELIVERED)
        .group_by(deliveries.c.destination, interval)
    )
    found: dict[str, dict[int, int]] = {}
    for destination, number, count in rows:
        found.setdefault(destination, {})[int(number) * seconds] = int(count)
    return found


def _latencies(
    connection: Connection, since: datetime, ehrs: Collection[str]
) -> tuple[list[Latency], float]:
    """Return how long the first word of each destination took for each generation.

    What is sent again, of whatever age its images are, is no news to the destination. It is what
    ``v_turnaround`` tells, of the attempts since a time. Of a generation from before the tries
    begin nobody knows which was the first.
    """
    first = _first_words(since, ehrs)
    number = connection.execute(sa.select(sa.func.count()).select_from(first)).scalar_one()
    every = -(-int(number) // SAMPLE)
    g = generations.c
    is_newest = sa.and_(g.generation == studies.c.generation, g.revision == studies.c.revision)
    until_then = (
        sa.select(sa.func.max(instances.c.received_at))
        .where(instances.c.study_key == g.study_key, instances.c.received_at <= g.settled_at)
        .scalar_subquery()
    )
    last = sa.case((is_newest, studies.c.last_received_at), else_=until_then)
    begin = removed_until(connection, attempts.name)
    is_known = g.settled_at > begin if begin else sa.true()
    of_generation = sa.and_(g.study_key == first.c.study_key, g.generation == first.c.generation)
    found = (
        sa.select(first.c.ended_at, sa.type_coerce(last, instances.c.received_at.type))
        .join_from(first, generations, of_generation)
        .join(studies, studies.c.study_key == g.study_key)
        .where(is_known)
        .order_by(first.c.ended_at)
    )
    if every > 1:
        found = found.where(first.c.attempt_key % every == 0)
    rows = connection.execute(found.limit(SAMPLE * 2))
    latencies = [Latency(at, (at - received).total_seconds()) for at, received in rows if received]
    return [one for one in latencies if one.seconds >= 0], 1 / max(every, 1)


def _first_words(since: datetime, ehrs: Collection[str]) -> sa.Subquery:
    """Return the attempts by which a destination first had a generation."""
    t, before = attempts.c, attempts.alias("before")
    earlier = sa.select(sa.literal(1)).where(
        before.c.delivery_key == t.delivery_key,
        before.c.generation == t.generation,
        before.c.outcome == DELIVERED,
        before.c.attempt_key < t.attempt_key,
    )
    return (
        sa.select(t.attempt_key, t.ended_at, t.generation, deliveries.c.study_key)
        .join_from(attempts, deliveries, deliveries.c.delivery_key == t.delivery_key)
        .where(
            t.ended_at >= since,
            t.outcome == DELIVERED,
            deliveries.c.destination.in_(list(ehrs)),
            ~earlier.exists(),
        )
        .subquery()
    )
