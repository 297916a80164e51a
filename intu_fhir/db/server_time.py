"""What time the database has: the one clock that all machines of a site can see."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection


def server_time(connection: Connection) -> datetime | None:
    """Return the time of the database's machine; None on SQLite, which is on this one."""
    if connection.dialect.name != "postgresql":
        return None
    # Not now(): that is when the transaction began.
    time: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return time
