"""The audit trail: rows are written with what they tell of, and sealed into a chain soon after.

``record_audit`` inserts into the caller's own transaction and waits for nobody. ``seal`` gives
rows their place in the chain, one process at a time. A row that is sealed can be neither changed
nor removed nor moved without ``audit_chain.verify`` noticing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit_tables import audit_events
from intu_fhir.db.log_tables import log_beginnings
from intu_fhir.db.session import Database
from intu_fhir.db.upsert import insert
from intu_fhir.model.audit import AuditEvent
from intu_fhir.model.canonical import canonical_json

FIRST = "0" * 64
"""What stands before the first row of the chain."""

AT_A_TIME = 1_000
_LOCK = 0x696E7475
"""Number of the lock that PostgreSQL gives to the one who seals."""

_CONTENT = (
    "event_id",
    "happened_at",
    "action",
    "outcome",
    "actor",
    "actor_kind",
    "address",
    "study_instance_uid",
    "association_id",
    "destination",
    "objects",
    "reason",
)
_LONGEST: Mapping[str, int] = {
    "actor": 128,
    "address": 64,
    "study_instance_uid": 64,
    "destination": 64,
    "reason": 500,
}


def record_audit(connection: Connection, *events: AuditEvent) -> None:
    """Write events down in the caller's transaction; one with a known ``event_id`` is there.

    Which index says so is left open: a table in parts has none of ``event_id`` alone.
    """
    if not events:
        return
    statement = insert(connection, audit_events).on_conflict_do_nothing()
    connection.execute(statement, [_row(event) for event in events])


def record_and_seal(database: Database, *events: AuditEvent) -> None:
    """Write down what a person did at the command line, where no worker may run to seal it."""
    with database.write() as connection:
        record_audit(connection, *events)
    seal(database)


def _row(event: AuditEvent) -> dict[str, Any]:
    row = asdict(event)
    row["happened_at"] = row.pop("at")
    for name, length in _LONGEST.items():
        row[name] = _storable(row[name])[:length]
    return row


def _storable(text: str) -> str:
    """Return text that both databases store as it is: no NUL, nothing that is not Unicode."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Seal:
    """The end of the chain; kept elsewhere, it shows that nothing before it was replaced."""

    position: int = 0
    hash: str = FIRST
    sealed: int = 0


def seal(database: Database, *, limit: int = AT_A_TIME) -> Seal | None:
    """Give rows their place in the chain; None where nothing waits or another process does it."""
    with database.read() as connection:
        waiting = sa.select(sa.literal(1)).where(audit_events.c.position.is_(None)).limit(1)
        if connection.execute(waiting).first() is None:
            return None
    with database.write() as connection:
        return _seal(connection, limit) if have_chain(connection) else None


def have_chain(connection: Connection) -> bool:
    """Take the chain until the transaction ends, if nobody has it; SQLite has one writer anyway."""
    if connection.dialect.name == "sqlite":
        return True
    return bool(connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))).scalar())


def _seal(connection: Connection, limit: int) -> Seal | None:
    c = audit_events.c
    waiting = sa.select(audit_events).where(c.position.is_(None))
    rows = connection.execute(waiting.order_by(c.audit_event_key).limit(limit)).mappings().all()
    if not rows:
        return None
    end = chain_end(connection)
    position, previous = end.position, end.hash
    links = []
    for row in rows:
        position += 1
        made = link_hash(row, position, previous)
        links.append({"of": row["audit_event_key"], "at": position, "after": previous, "is": made})
        previous = made
    connection.execute(_LINK, links)
    return Seal(position, previous, len(rows))


_LINK = (
    sa.update(audit_events)
    .where(audit_events.c.audit_event_key == sa.bindparam("of"))
    .values(
        position=sa.bindparam("at"), previous_hash=sa.bindparam("after"), hash=sa.bindparam("is")
    )
)


def chain_end(connection: Connection) -> Seal:
    """Return the newest seal."""
    c = audit_events.c
    last = sa.select(c.position, c.hash).where(c.position.is_not(None))
    row = connection.execute(last.order_by(c.position.desc()).limit(1)).first()
    return Seal(row.position, row.hash) if row else chain_begin(connection).seal


@dataclass(frozen=True, slots=True)
class Begin:
    """Where the chain begins.

    Args:
        seal: that of the last row that was removed; the first one follows it.
        until: the newest time of what was removed; None where nothing was.
        removed_at: when that was.
    """

    seal: Seal = Seal()
    until: datetime | None = None
    removed_at: datetime | None = None


def chain_begin(connection: Connection) -> Begin:
    """Return where the chain begins."""
    b = log_beginnings.c
    asked = sa.select(b.position, b.hash, b.last_at, b.removed_at).where(b.log == audit_events.name)
    row = connection.execute(asked).first()
    return Begin(Seal(row.position, row.hash), row.last_at, row.removed_at) if row else Begin()


def link_hash(row: Mapping[Any, Any], position: int, previous: str) -> str:
    """Return the SHA-256 of a row at its place: its content in canonical JSON (sorted keys)."""
    content = {name: row[name] for name in _CONTENT}
    happened_at: datetime = content["happened_at"]
    content["happened_at"] = happened_at.astimezone(UTC).isoformat(timespec="microseconds")
    content |= {"position": position, "previous_hash": previous}
    return hashlib.sha256(canonical_json(content)).hexdigest()
