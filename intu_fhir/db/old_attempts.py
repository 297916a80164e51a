"""Tries to deliver that are old.

What is delivered, waits or failed stands in ``deliveries``, the number of the next try as well.
Tries tell how it came to that: to a study's page, and to who measures how long it took.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.log_beginnings import begin_behind
from intu_fhir.db.partition_tables import ATTEMPTS
from intu_fhir.db.spans import OldRows, Span
from intu_fhir.db.tables import attempts, deliveries
from intu_fhir.model.audit import Action


class Attempts:
    """Tries to deliver, which go by when they ended."""

    table = ATTEMPTS
    action = Action.ATTEMPTS_REMOVED
    stays = "deliveries stay"

    def first_to_go(self, connection: Connection, table: sa.FromClause, behind: int) -> int | None:
        """Return the first try."""
        key = table.c.attempt_key
        found = sa.select(key).where(key >= behind).order_by(key).limit(1)
        return connection.execute(found).scalar()

    def counted(self, connection: Connection, span: Span) -> tuple[int, datetime | None]:
        """Count tries."""
        c = attempts.c
        found = sa.select(sa.func.count(), sa.func.max(c.ended_at)).where(span.has(c.attempt_key))
        number, newest_at = connection.execute(found).one()
        return int(number), newest_at

    def study_keys(self, span: Span) -> sa.Select[tuple[int]]:
        """Return the studies that were tried."""
        its_own = deliveries.c.delivery_key == attempts.c.delivery_key
        tried = sa.select(deliveries.c.study_key).join_from(attempts, deliveries, its_own)
        return tried.where(span.has(attempts.c.attempt_key))

    def remove(self, connection: Connection, old: OldRows, now: datetime) -> None:
        """Remove tries, and note where the others begin."""
        span = old.span
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"TRUNCATE TABLE {span.name}")
        else:
            connection.execute(sa.delete(attempts).where(span.has(attempts.c.attempt_key)))
        begin_behind(
            connection, self.table.name, last_key=span.end - 1, last_at=old.newest_at, now=now
        )
