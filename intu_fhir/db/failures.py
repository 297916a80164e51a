"""What fails, gathered by cause; and how what was put back is doing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import given
from intu_fhir.db.tables import deliveries, studies, work
from intu_fhir.model.work import DEAD, DELIVER, RETRYING

MOST_CAUSES = 200
_CHUNK = 500
_CAUSE = "cause_told"
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Cause:
    """What fails at one place for one reason.

    Args:
        step: aggregate, build or deliver.
        destination: for deliver; else empty.
        cause: the error without what is true of one study alone.
        since: when the first of them began to fail.
        newest: when one of them changed last.
        example: the whole error of one of them.
        is_same: that of all of them is the same.
    """

    step: str
    destination: str
    cause: str
    dead: int
    retrying: int
    since: datetime | None
    newest: datetime
    example: str
    is_same: bool = False

    @property
    def count(self) -> int:
        """How many there are."""
        return self.dead + self.retrying


@dataclass(frozen=True, slots=True)
class FailureRow:
    """One delivery, or one step before it, that fails."""

    key: int
    study_instance_uid: str
    accession_number: str
    modalities: str
    state: str
    attempts: int
    since: datetime | None
    due_at: datetime | None
    error: str


def cause_column(queue: sa.Table) -> sa.ColumnElement[str]:
    """Return the cause of a row; the error itself where nobody has told the two apart."""
    error = sa.func.substr(queue.c.last_error, 1, _LONGEST)
    return sa.case((queue.c.cause != "", queue.c.cause), else_=error)


def causes(connection: Connection, destination: str | None = None) -> list[Cause]:
    """Return what fails now by place and cause, what concerns most first."""
    found = [one for queue in (deliveries, work) for one in _causes(connection, queue, destination)]
    return sorted(found, key=lambda one: (-one.dead, -one.retrying, one.destination, one.cause))


def causes_with(found: Iterable[Cause], part: str) -> list[str]:
    """Return the one cause that is this text, else all that it is a part of, each once."""
    wanted = part.replace("...", "…").casefold()
    texts = dict.fromkeys(one.cause for one in found)
    same = [text for text in texts if text.casefold() == wanted]
    return same or [text for text in texts if wanted in text.casefold()]


def number_of_causes(connection: Connection, destination: str | None = None) -> int:
    """Return how many there are; of each half of the queue ``causes`` names so many at most."""
    queues = (deliveries,) if destination is not None else (deliveries, work)
    return sum(_number_of_causes(connection, queue, destination) for queue in queues)


def _number_of_causes(connection: Connection, queue: sa.Table, destination: str | None) -> int:
    every = sa.select(*_place(queue), cause_column(queue).label(_CAUSE)).distinct()
    found = every.where(_fails(queue), *_at(queue, destination)).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(found)).scalar_one()


def left_out(connection: Connection, found: Sequence[Cause], destination: str | None = None) -> str:
    """Say what ``causes`` leaves out; empty where it named all."""
    if len(found) < MOST_CAUSES:
        return ""
    of = number_of_causes(connection, destination)
    shown = f"the first {len(found):,} of {of:,} causes, those that concern most"
    return f"Only {shown}, are shown." if of > len(found) else ""


def _causes(connection: Connection, queue: sa.Table, destination: str | None) -> Iterator[Cause]:
    if destination is not None and queue is work:
        return
    c = queue.c
    named = c.destination if queue is deliveries else c.step
    time = c.updated_at.type
    rows = connection.execute(
        sa.select(
            *_place(queue),
            cause_column(queue).label(_CAUSE),
            sa.func.sum(sa.case((c.state == DEAD, 1), else_=0)),
            sa.func.sum(sa.case((c.state == RETRYING, 1), else_=0)),
            sa.type_coerce(sa.func.min(c.first_failed_at), time),
            sa.type_coerce(sa.func.max(c.updated_at), time),
            sa.func.max(c.last_error),
            sa.func.min(c.last_error),
        )
        .where(_fails(queue), *_at(queue, destination))
        .group_by(named, sa.text(_CAUSE))
        .order_by(sa.func.count().desc())
        .limit(MOST_CAUSES)
    )
    for step, name, reason, dead, retrying, since, newest, example, other in rows:
        is_same = example == other
        yield Cause(step, name, reason, int(dead), int(retrying), since, newest, example, is_same)


def _place(queue: sa.Table) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    if queue is deliveries:
        return sa.literal_column(f"'{DELIVER}'"), queue.c.destination
    return queue.c.step, sa.literal_column("''")


def _fails(queue: sa.Table) -> sa.ColumnElement[bool]:
    """What fails; each half is one that an index of few rows serves."""
    if queue is deliveries:
        return queue.c.state.in_((DEAD, RETRYING))
    key, state = work.c.work_key, work.c.state
    dead = sa.select(key).where(state == sa.literal_column(f"'{DEAD}'"))
    retrying = sa.select(key).where(work.c.due_at.is_not(None), state == RETRYING)
    return key.in_(sa.union_all(dead, retrying))


def _at(queue: sa.Table, destination: str | None) -> list[sa.ColumnElement[bool]]:
    return given(queue.c.destination.__eq__, destination) if queue is deliveries else []


def failures_of(
    connection: Connection, cause: Cause, *, after: int | None = None, limit: int = 100
) -> list[FailureRow]:
    """Return what fails for one cause, the newest row first.

    Args:
        after: key of the last row of the page before.
    """
    queue = deliveries if cause.step == DELIVER else work
    key = deliveries.c.delivery_key if cause.step == DELIVER else work.c.work_key
    c, s = queue.c, studies.c
    place = c.destination == cause.destination if queue is deliveries else c.step == cause.step
    rows = connection.execute(
        sa.select(
            key,
            s.study_instance_uid,
            s.accession_number,
            s.modalities,
            c.state,
            c.attempts,
            c.first_failed_at,
            c.due_at,
            c.last_error,
        )
        .join_from(queue, studies, s.study_key == c.study_key)
        .where(_fails(queue), place, cause_column(queue) == cause.cause)
        .where(*given(key.__lt__, after))
        .order_by(key.desc())
        .limit(limit)
    )
    return [FailureRow(*row) for row in rows]


def states_of(
    connection: Connection, delivery_keys: Sequence[int], work_keys: Sequence[int]
) -> Counter[str]:
    """Count the states of rows, as somebody wants to know who has put them back."""
    counted = Counter[str]()
    for keys, column, state in (
        (delivery_keys, deliveries.c.delivery_key, deliveries.c.state),
        (work_keys, work.c.work_key, work.c.state),
    ):
        for start in range(0, len(keys), _CHUNK):
            chosen = column.in_(keys[start : start + _CHUNK])
            rows = connection.execute(
                sa.select(state, sa.func.count()).where(chosen).group_by(state)
            )
            for name, number in rows:
                counted[name] += number
    return counted


def build_keys(connection: Connection, study_keys: Sequence[int]) -> list[int]:
    """Return the rows of the build step of studies."""
    found: list[int] = []
    for start in range(0, len(study_keys), _CHUNK):
        chosen = work.c.study_key.in_(study_keys[start : start + _CHUNK])
        found += connection.execute(
            sa.select(work.c.work_key).where(work.c.step == "build", chosen)
        ).scalars()
    return found
