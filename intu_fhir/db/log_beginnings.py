"""Where logs begin, whose old rows were removed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.log_tables import log_beginnings
from intu_fhir.db.upsert import insert


def begin_behind(
    connection: Connection,
    log: str,
    *,
    last_key: int,
    last_at: datetime,
    now: datetime,
    position: int | None = None,
    digest: str = "",
) -> None:
    """Note up to where a log was removed, by its key and by the times that it told of.

    Args:
        position: place in the chain of the last row, where the log has one.
        digest: hash of that row.
    """
    known = removed_until(connection, log)
    values: dict[str, Any] = {
        "last_key": last_key,
        "last_at": max(last_at, known) if known else last_at,
        "position": position,
        "hash": digest,
        "removed_at": now,
    }
    statement = insert(connection, log_beginnings).values(log=log, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["log"], set_=values))


def removed_until(connection: Connection, log: str) -> datetime | None:
    """Return the newest time of what a log has lost; None where it has all."""
    asked = sa.select(log_beginnings.c.last_at).where(log_beginnings.c.log == log)
    return connection.execute(asked).scalar()
