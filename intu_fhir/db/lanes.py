"""The rows that one kind of worker looks at, and which of them is next.

Only due rows are indexed, in the order in which they are taken: neither finished work nor work
that waits costs a look anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from intu_fhir.db.tables import deliveries, studies, work
from intu_fhir.model.work import DELIVER

FRESH_SECONDS = 300
"""Work that has been due for longer is backlog, even where it was never tried."""

_TIME = work.c.updated_at.type


def queue_of(step: str) -> Table:
    """Return the table that holds a step's rows."""
    return deliveries if step == DELIVER else work


def key_of(queue: Table) -> sa.Column[Any]:
    """Return the key of a table of the queue."""
    return queue.c.delivery_key if queue is deliveries else queue.c.work_key


@dataclass(frozen=True, slots=True)
class LaneRows:
    """The rows of one lane: those of a step, or of a destination for ``deliver``."""

    step: str
    destination: str = ""

    @property
    def queue(self) -> Table:
        """The table that holds them."""
        return queue_of(self.step)

    @property
    def are_ours(self) -> sa.ColumnElement[bool]:
        """The condition that picks them out of the table."""
        if self.step == DELIVER:
            return deliveries.c.destination == self.destination
        return work.c.step == self.step

    def head(
        self,
        now: datetime,
        *,
        backlog: bool,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> sa.Select[Any]:
        """Ask for the unheld row that has been due longest; the index gives it without a search.

        Whoever reads it keeps others off it.

        Args:
            since: only what became due after this time.
            until: only what was due at this time already.
        """
        queue = self.queue
        begin = [] if since is None else [queue.c.due_at > since]
        return (
            self._free(until or now)
            .where(
                queue.c.backlog == sa.literal(backlog),
                *begin,
                queue.c.lease_until.is_(None),
            )
            .order_by(queue.c.due_at)
        )

    def abandoned(self, now: datetime) -> sa.Select[Any]:
        """Ask for the row whose lease ran out first, fresh or not: its worker died on it."""
        ended = self.queue.c.lease_until
        return self._free(now).where(ended <= now).order_by(ended)

    def _free(self, due_by: datetime) -> sa.Select[Any]:
        """Ask for one row that is due by a time and that nobody else is reading."""
        queue = self.queue
        return (
            sa.select(
                key_of(queue).label("key"),
                queue.c.study_key,
                studies.c.study_instance_uid,
                queue.c.want,
                queue.c.have,
                queue.c.due_at,
                queue.c.attempts,
                queue.c.fence,
                queue.c.lease_holder,
                queue.c.backlog,
                queue.c.trace_parent,
            )
            .join(studies, studies.c.study_key == queue.c.study_key)
            .where(self.are_ours, queue.c.due_at.is_not(None), queue.c.due_at <= due_by)
            .limit(1)
            .with_for_update(skip_locked=True, of=queue)
        )

    def held(self, now: datetime) -> sa.Select[Any]:
        """Ask how many are held, how many of those not for the first time, and until when at least.

        Not for the first time is what failed before or was put back.
        """
        queue = self.queue
        known = sa.or_(queue.c.attempts > 0, queue.c.backlog == sa.true())
        again = sa.func.coalesce(sa.func.sum(sa.case((known, 1), else_=0)), 0)
        first = sa.func.min(queue.c.lease_until, type_=_TIME)
        return sa.select(sa.func.count(), again, first).where(
            self.are_ours, queue.c.lease_until > now
        )

    def due_times(self) -> sa.Select[Any]:
        """Ask when the first row of each part is due, and when the first lease runs out."""
        queue = self.queue
        free = queue.c.lease_until.is_(None)
        heads = [
            sa.select(queue.c.due_at)
            .where(
                self.are_ours,
                queue.c.backlog == sa.literal(backlog),
                queue.c.due_at.is_not(None),
                free,
            )
            .order_by(queue.c.due_at)
            .limit(1)
            for backlog in (False, True)
        ]
        leased = sa.select(sa.func.min(queue.c.lease_until, type_=_TIME)).where(
            self.are_ours, queue.c.lease_until.is_not(None), queue.c.due_at.is_not(None)
        )
        return sa.select(*(one.scalar_subquery() for one in (*heads, leased)))


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a lane at one time: which row is next, of each part of it."""

    connection: Connection
    rows: LaneRows
    now: datetime

    def abandoned(self) -> Any:
        """Return what a worker died on, whatever else is due."""
        return self._one(self.rows.abandoned(self.now))

    def fresh(self) -> Any:
        """Return what was never tried and has not been due for long."""
        return self._head(backlog=False, since=self._long_ago)

    def old(self) -> Any:
        """Return what was never tried, though it has been due for long."""
        return self._head(backlog=False, until=self._long_ago)

    def backlog(self) -> Any:
        """Return what has been due longest of all that failed, was put back or waits for long."""
        rows = (self.old(), self._head(backlog=True))
        return min((row for row in rows if row), key=lambda row: row["due_at"], default=None)

    @property
    def _long_ago(self) -> datetime:
        return self.now - timedelta(seconds=FRESH_SECONDS)

    def _head(self, **part: Any) -> Any:
        return self._one(self.rows.head(self.now, **part))

    def _one(self, rows: sa.Select[Any]) -> Any:
        return self.connection.execute(rows).mappings().one_or_none()
