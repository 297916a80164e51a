"""Events of the audit trail that are old: how far the chain may be cut off at its beginning.

What goes is looked at first as ``audit_chain.verify`` does: what does not fit stays, as evidence.
The newest sealed row stays whatever its age, and so does everything from the first event of a
study on that is on its way: the trail counts by its events which images it has told of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import Seal, chain_begin, chain_end, have_chain, record_audit
from intu_fhir.db.audit_chain import chained, fault, removal_of
from intu_fhir.db.audit_tables import audit_events
from intu_fhir.db.log_beginnings import begin_behind
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.tables import deliveries, studies
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.work import DEAD, DELIVERED, FILTERED

EVENTS_AT_A_TIME = 1_000
"""Events that go in one transaction, of some hundredths of a second."""


@dataclass(frozen=True, slots=True)
class OldEvents:
    """The next events of the chain that are old.

    Args:
        events: how many would go.
        first: position of the first one.
        end: seal of the last one.
        last_key: its key.
        newest_at: the newest time of them.
        kept_by: what keeps the one that follows, though it is old; empty = nothing does.
    """

    events: int
    first: int
    end: Seal
    last_key: int
    newest_at: datetime | None
    kept_by: str = ""


def look_at(connection: Connection, after: Seal, before: datetime) -> OldEvents:
    """Say which events behind a seal would go next."""
    newest = chain_end(connection).position
    rows = list(islice(chained(connection, after.position, EVENTS_AT_A_TIME), EVENTS_AT_A_TIME))
    busy = _on_their_way(connection, {row["study_instance_uid"] for row in rows})
    old: list[Mapping[Any, Any]] = []
    end, kept_by = after, ""
    for row in rows:
        if row["position"] >= newest or row["happened_at"] >= before:
            break
        kept_by = _kept_by(row, end, busy)
        if kept_by:
            break
        old.append(row)
        end = Seal(row["position"], row["hash"])
    return _of(old, after, end, kept_by)


def _of(old: Sequence[Mapping[Any, Any]], after: Seal, end: Seal, kept_by: str) -> OldEvents:
    return OldEvents(
        events=len(old),
        first=after.position + 1,
        end=end,
        last_key=max((row["audit_event_key"] for row in old), default=0),
        newest_at=max((row["happened_at"] for row in old), default=None),
        kept_by=kept_by,
    )


def _kept_by(row: Mapping[Any, Any], end: Seal, busy: Collection[str]) -> str:
    """Say why an old event stays, or nothing."""
    position = end.position + 1
    if why := fault(row, position, end.hash):
        return f"the chain is broken at event {position}: {why}"
    uid = row["study_instance_uid"]
    return f"study {uid} is on its way" if uid in busy else ""


def _on_their_way(connection: Connection, uids: Collection[str]) -> set[str]:
    """Return those of some studies of which a destination may have what no event has told of."""
    d = deliveries.c
    going = (
        sa.select(studies.c.study_instance_uid)
        .join_from(studies, deliveries, d.study_key == studies.c.study_key)
        .where(
            studies.c.study_instance_uid.in_([uid for uid in uids if uid]),
            d.state.not_in((DELIVERED, DEAD, FILTERED)),
        )
    )
    return set(connection.execute(going).scalars())


def remove(connection: Connection, before: datetime, by: Pruner, now: datetime) -> OldEvents:
    """Remove the next old events, in the write transaction given; return what went.

    Raises:
        StoreUnavailable: another process seals or removes; try again later.
    """
    if not have_chain(connection):
        raise StoreUnavailable("Another process seals the audit trail; try again later")
    begin = chain_begin(connection).seal
    old = look_at(connection, begin, before)
    if not old.events or old.newest_at is None:
        return old
    c = audit_events.c
    goes = sa.and_(c.position > begin.position, c.position <= old.end.position)
    connection.execute(sa.delete(audit_events).where(goes))
    begin_behind(
        connection,
        audit_events.name,
        last_key=old.last_key,
        last_at=old.newest_at,
        now=now,
        position=old.end.position,
        digest=old.end.hash,
    )
    record_audit(
        connection,
        AuditEvent(
            Action.AUDIT_REMOVED,
            now,
            by.name,
            by.kind,
            objects=old.events,
            reason=f"{removal_of(old.end)}; events from {old.first} on, until {old.newest_at}",
        ),
    )
    return old
