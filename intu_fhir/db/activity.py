"""What a day looked like: instances and studies by time, how long they took, what failed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

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
    """Return the times of deliveries that hold the study's newest content."""
    d = deliveries.c
    conditions = [d.delivered_at >= since, d.destination.in_(list(ehrs)), d.have >= d.want]
    number = connection.execute(
        sa.select(sa.func.count()).select_from(deliveries).where(*conditions)
    ).scalar_one()
    every = -(-int(number) // SAMPLE)
    found = (
        sa.select(d.delivered_at, studies.c.last_received_at)
        .join_from(deliveries, studies, studies.c.study_key == d.study_key)
        .where(*conditions)
        .order_by(d.delivered_at)
    )
    if every > 1:
        found = found.where(d.delivery_key % every == 0)
    rows = connection.execute(found.limit(SAMPLE * 2))
    latencies = [Latency(at, (at - received).total_seconds()) for at, received in rows]
    return [one for one in latencies if one.seconds >= 0], 1 / max(every, 1)
