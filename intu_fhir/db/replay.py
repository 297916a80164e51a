"""Rows that can be put back, found by filters or by a predicate of a person's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import all_of, given
from intu_fhir.db.failures import cause_column
from intu_fhir.db.lanes import key_of
from intu_fhir.db.readonly import Reader, read_only_query
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, instance_deliveries, studies, work
from intu_fhir.db.work import NO_FAILURE
from intu_fhir.model.work import BUILD, DELIVER, FILTERED, WAITING

_CHUNK = 500
"""Rows of one statement; both databases bound its parameters."""

_STUDY_COLUMNS = (
    "study_instance_uid",
    "channel",
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "accession_number",
    "study_date",
    "study_description",
    "modalities",
    "number_of_series",
    "number_of_instances",
    "generation",
    "first_received_at",
    "last_received_at",
)
_QUEUE_COLUMNS = (
    "study_key",
    "state",
    "want",
    "have",
    "attempts",
    "due_at",
    "first_failed_at",
    "last_error",
    "lease_holder",
    "lease_until",
    "updated_at",
)


@dataclass(frozen=True, slots=True)
class ReplayFilter:
    """Which rows to put back; what is None does not matter.

    Args:
        since: the row changed at or after this time.
        until: the row changed before this time.
        by_reception: ``since`` and ``until`` mean when the study's last instance came.
        where: an SQL predicate over the columns of ``replay_columns``.
        reader: as whom the predicate is judged; None = with the rights of the program.
        step: deliver, or a step before it.
        cause: why it failed, as ``db.failures.causes`` tells it.
        keys: these rows of ``step`` alone.
    """

    study_instance_uid: str | None = None
    destination: str | None = None
    states: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    by_reception: bool = False
    where: str | None = None
    reader: Reader | None = None
    step: str | None = None
    cause: str | None = None
    keys: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """One delivery (``step`` is deliver), or one step of a study before it."""

    key: int
    study_key: int
    study_instance_uid: str
    step: str
    destination: str
    state: str
    want: int
    have: int
    generation: int
    lease_until: datetime | None


def replay_columns() -> list[str]:
    """Return the names that a predicate may use."""
    return [column.name for column in _view().columns]


def _view() -> sa.Subquery:
    """Deliveries and the steps before them, each beside its study."""
    d = deliveries.c
    delivering = [d.delivery_key.label("key"), sa.literal(DELIVER).label("step"), d.destination]
    learned = [d.delivered_at, d.last_status, d.warning, d.server_id, d.server_version]
    stepping = [work.c.work_key.label("key"), work.c.step, sa.literal("").label("destination")]
    nothing = [
        sa.cast(sa.null(), column.type).label(column.name)
        if column is d.delivered_at
        else sa.literal("").label(column.name)
        for column in learned
    ]
    return sa.union_all(
        _beside_study(deliveries, [*delivering, *learned]),
        _beside_study(work, [*stepping, *nothing]),
    ).subquery("work_and_deliveries")


def _beside_study(queue: sa.Table, first: list[Any]) -> sa.Select[Any]:
    return sa.select(
        *first,
        cause_column(queue).label("cause"),
        *(queue.c[name] for name in _QUEUE_COLUMNS),
        *(studies.c[name] for name in _STUDY_COLUMNS),
    ).join_from(queue, studies, studies.c.study_key == queue.c.study_key)


class ReplayQuery:
    """The rows that a filter names; a predicate is judged once, where it can only read.

    Raises:
        RefusedQuery: the predicate is not SQL that only reads.
    """

    def __init__(
        self, database: Database, wanted: ReplayFilter, *, timeout_seconds: float = 60.0
    ) -> None:
        self._database = database
        self._view = _view()
        self._conditions = self._filters(wanted)
        self._chosen = self._judge(wanted, timeout_seconds) if wanted.where else None

    def rows(self, states: Collection[str]) -> list[ReplayRow]:
        """Return the rows in these states, in the order in which the studies came."""
        c = self._view.c
        found = sa.select(*(c[name] for name in ReplayRow.__slots__))
        found = found.order_by(c.first_received_at, c.study_key, c.step, c.destination)
        return [ReplayRow(*row) for row in self._read(found, c.state.in_(states))]

    def counts(self) -> dict[tuple[bool, str], int]:
        """Return how many rows there are by (is a delivery, state)."""
        c = self._view.c
        is_delivery = c.step == DELIVER
        grouped = sa.select(is_delivery, c.state, sa.func.count()).group_by(is_delivery, c.state)
        counts: dict[tuple[bool, str], int] = {}
        for delivery, state, number in self._read(grouped):
            key = bool(delivery), state
            counts[key] = counts.get(key, 0) + number
        return counts

    def studies(self) -> dict[int, int]:
        """Return the generation of each study that has such a row, by its key."""
        c = self._view.c
        distinct = sa.select(c.study_key, c.generation, c.first_received_at).distinct()
        found = self._read(distinct.order_by(c.first_received_at, c.study_key))
        return {study_key: generation for study_key, generation, _ in found}

    def _filters(self, wanted: ReplayFilter) -> list[sa.ColumnElement[bool]]:
        c = self._view.c
        time = c.last_received_at if wanted.by_reception else c.updated_at
        return all_of(
            given(c.study_instance_uid.__eq__, wanted.study_instance_uid),
            given(c.destination.__eq__, wanted.destination),
            given(c.state.in_, wanted.states),
            given(time.__ge__, wanted.since),
            given(time.__lt__, wanted.until),
            given(c.step.__eq__, wanted.step),
            given(c.cause.__eq__, wanted.cause),
            given(c.key.in_, wanted.keys),
        )

    def _judge(self, wanted: ReplayFilter, timeout_seconds: float) -> list[tuple[bool, int]]:
        """Return which rows a predicate is true of, as (is a delivery, key)."""
        view = sa.select(self._view).compile(
            dialect=self._database.engine.dialect, compile_kwargs={"literal_binds": True}
        )
        # A person's own SQL, run where it can only read; the line break ends a comment of theirs.
        statement = (
            f"SELECT step, key FROM ({view}) AS work_and_deliveries "  # noqa: S608
            f"WHERE (\n{wanted.where}\n)"
        )
        asked = wanted.reader or self._database.url
        with read_only_query(asked, statement, timeout_seconds=timeout_seconds) as result:
            return sorted((step == DELIVER, int(key)) for step, key in result.rows)

    def _read(
        self, found: sa.Select[Any], *conditions: sa.ColumnElement[bool]
    ) -> Iterator[Sequence[Any]]:
        found = found.where(*self._conditions, *conditions)
        with self._database.read() as connection:
            for keys in [[]] if self._chosen is None else self._key_conditions():
                yield from connection.execute(found.where(*keys))

    def _key_conditions(self) -> Iterator[list[sa.ColumnElement[bool]]]:
        """Yield a condition for each handful of the rows that a predicate chose."""
        c = self._view.c
        for delivery in (False, True):
            step = c.step == DELIVER if delivery else c.step != DELIVER
            chosen = (key for is_delivery, key in self._chosen or () if is_delivery == delivery)
            for keys in _chunks(chosen):
                yield [step, c.key.in_(keys)]


def take_in_turn(connection: Connection, rows: Collection[ReplayRow]) -> None:
    """Take rows study by study, in the order in which a step takes those of its study.

    Who puts back and who records could wait for each other else. SQLite has one writer anyway.
    """
    if connection.dialect.name != "postgresql":
        return
    by_code_point = deliveries.c.destination.collate("C")
    for queue, name in ((work, work.c.step), (deliveries, by_code_point)):
        ours = [row for row in rows if (row.step == DELIVER) == (queue is deliveries)]
        ordered = sorted(ours, key=lambda row: (row.study_key, row.step, row.destination))
        for keys in _chunks(row.key for row in ordered):
            found = sa.select(key_of(queue)).where(key_of(queue).in_(keys))
            in_turn = found.order_by(queue.c.study_key, name)
            connection.execute(in_turn.with_for_update(key_share=True))


def put_back(
    connection: Connection,
    rows: Collection[ReplayRow],
    *,
    again: bool,
    now: datetime,
    due_at: datetime | None = None,
) -> list[ReplayRow]:
    """Make rows due, as if they had never failed; return those that were still as found.

    What was held, begun or delivered since somebody looked stays as it is.

    Args:
        again: forget that the destination has it, so that it is sent once more.
        due_at: when; by default now.
    """
    fresh = NO_FAILURE | {
        "state": WAITING,
        "attempts": 0,
        "backlog": True,
        "due_at": due_at or now,
        "updated_at": now,
    }
    done: list[ReplayRow] = []
    for delivery, state in sorted({(row.step == DELIVER, row.state) for row in rows}):
        alike = [row for row in rows if (row.step == DELIVER, row.state) == (delivery, state)]
        queue, written = deliveries if delivery else work, set[int]()
        for keys in _chunks(row.key for row in alike):
            still = _update(connection, queue, keys, state, now, fresh)
            if again and delivery:
                _forget(connection, sorted(still))
            written |= still
        done += [row for row in alike if row.key in written]
    return done


def _update(
    connection: Connection,
    queue: sa.Table,
    keys: list[int],
    state: str,
    now: datetime,
    fresh: Mapping[str, Any],
) -> set[int]:
    """Write to rows that are in this state and that no worker holds; return their keys."""
    free = sa.or_(queue.c.lease_until.is_(None), queue.c.lease_until <= now)
    written = connection.execute(
        sa.update(queue)
        .where(key_of(queue).in_(keys), queue.c.state == state, free)
        .values(lease_holder="", lease_until=None, **fresh)
        .returning(key_of(queue))
    )
    return set(written.scalars())


def _forget(connection: Connection, keys: list[int]) -> None:
    """Let deliveries count as never done; what was tried stays in ``attempts``."""
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.delivery_key.in_(keys))
        .values(have=deliveries.c.want - 1, content_hash="", commitment="", committed_generation=0)
    )
    connection.execute(
        sa.update(instance_deliveries)
        .where(instance_deliveries.c.delivery_key.in_(keys))
        .values(delivered=False, committed_at=None)
    )


def build_again(connection: Connection, study_keys: Collection[int], *, now: datetime) -> int:
    """Have the newest generation of studies built once more; return how many.

    A build that is running now is told to drop its result: it may use the old mapping. The end
    of the new build asks the FHIR destinations to look again; where the content is the same
    nothing is sent. What the site's hook left out is asked for as if it were new.
    """
    count = 0
    for keys in _chunks(iter(sorted(study_keys))):
        count += _want_build(connection, keys, now)
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.study_key.in_(keys), deliveries.c.state == FILTERED)
            .values(want=_generation(deliveries) - 1, updated_at=now)
        )
    return count


def _want_build(connection: Connection, study_keys: list[int], now: datetime) -> int:
    """Have done one less than is wanted, which is the newest generation.

    What is wanted is not asked of the study: PostgreSQL, which waits here for one that settles,
    would write down the generation from before.
    """
    written = connection.execute(
        sa.update(work)
        .where(work.c.step == BUILD, work.c.study_key.in_(study_keys))
        .values(
            have=work.c.want - 1,
            state=WAITING,
            attempts=0,
            backlog=True,
            due_at=now,
            updated_at=now,
            lease_holder="",
            lease_until=None,
            **NO_FAILURE,
        )
    )
    return int(written.rowcount)


def _generation(queue: sa.Table) -> sa.ScalarSelect[int]:
    newest = sa.select(studies.c.generation).where(studies.c.study_key == queue.c.study_key)
    return newest.correlate(queue).scalar_subquery()


def _chunks(keys: Iterator[int]) -> Iterator[list[int]]:
    pending = list(keys)
    for start in range(0, len(pending), _CHUNK):
        yield pending[start : start + _CHUNK]
