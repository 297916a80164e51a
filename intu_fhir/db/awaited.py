"""What studies on their way wait for: a destination that does not answer, is paused, or failed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.kept_back import kept_back
from intu_fhir.db.tables import deliveries
from intu_fhir.model.destination import RECOVERING
from intu_fhir.model.work import RETRYING, RUNNING, WAITING


def awaited(
    connection: Connection, study_keys: Collection[int], now: datetime
) -> dict[int, list[tuple[str, str]]]:
    """Return the destinations that keep studies waiting, each with its state, by study.

    The state is that of the destination (``paused``, ``down`` or ``later``), or ``retrying`` where
    it is up and the last try failed.
    """
    kept = {one.destination: one.state for one in kept_back(connection, now)}
    c = deliveries.c
    rows = connection.execute(
        sa.select(c.study_key, c.destination, c.state)
        .where(c.study_key.in_(study_keys), c.state.in_((WAITING, RUNNING, RETRYING)))
        .order_by(c.destination)
    )
    found: dict[int, list[tuple[str, str]]] = {}
    for study_key, destination, state in rows:
        why = kept.get(destination, "")
        if why in {"", RECOVERING}:
            why = RETRYING if state == RETRYING else ""
        if why:
            found.setdefault(study_key, []).append((destination, why))
    return found
