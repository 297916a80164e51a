"""Objects that were answered with a failure, by who sent them: what associations have counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import associations

OVER = timedelta(days=1)
_MOST = 20


@dataclass(frozen=True, slots=True)
class Refused:
    """Objects of one sender that one channel has refused in the last day.

    Args:
        last: when the last of its associations with one ended.
    """

    channel: str
    calling_ae_title: str
    count: int
    last: datetime


def refused_lately(connection: Connection, now: datetime) -> list[Refused]:
    """Return who was refused objects in the last day, the worst first; at most some twenty.

    What an association brought is known at its end.
    """
    c = associations.c
    count = sa.func.sum(c.refused)
    found = (
        sa.select(c.channel, c.calling_ae_title, count, sa.func.max(c.ended_at))
        .where(c.started_at >= now - OVER, c.refused > 0)
        .group_by(c.channel, c.calling_ae_title)
        .order_by(count.desc(), c.channel, c.calling_ae_title)
        .limit(_MOST)
    )
    return [Refused(one[0], one[1], int(one[2]), one[3]) for one in connection.execute(found)]
