"""The audit trail: rows are written with what they tell of, and sealed into a chain soon after.

``record_audit`` inserts into the caller's own transaction and waits for nobody. ``seal`` gives
rows their place in the chain, one process at a time. A row that is sealed can be neither changed
nor removed nor moved without ``verify`` noticing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit_tables import audit_events
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
    """Write events down in the caller's transaction; one with a known ``event_id`` is there."""
    if not events:
        return
    statement = insert(connection, audit_events).on_conflict_do_nothing(index_elements=["event_id"])
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
        return _seal(connection, limit) if _our_turn(connection) else None


def _our_turn(connection: Connection) -> bool:
    """Take the chain until the transaction ends; SQLite has one writer anyway."""
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
    return Seal(row.position, row.hash) if row else Seal()


def link_hash(row: Mapping[Any, Any], position: int, previous: str) -> str:
    """Return the SHA-256 of a row at its place: its content in canonical JSON (sorted keys)."""
    content = {name: row[name] for name in _CONTENT}
    happened_at: datetime = content["happened_at"]
    content["happened_at"] = happened_at.astimezone(UTC).isoformat(timespec="microseconds")
    content |= {"position": position, "previous_hash": previous}
    return hashlib.sha256(canonical_json(content)).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the whole chain found.

    Args:
        events: rows that are in the chain and right.
        broken_at: position of the first row that is not; None where all are.
        why: what is wrong with it.
        unsealed: rows that wait for their place.
        unsealed_since: when the oldest of them happened.
        end: the newest seal.
    """

    events: int
    broken_at: int | None
    why: str
    unsealed: int
    unsealed_since: datetime | None
    end: Seal


def verify(connection: Connection, *, expected: Collection[Seal] = ()) -> Verdict:
    """Recompute the chain from its beginning, as one snapshot.

    Args:
        expected: seals that were kept elsewhere, such as those of the log.
    """
    known = {one.position: one.hash for one in expected}
    good, broken_at, why, previous = 0, None, "", FIRST
    for row in _chained(connection):
        why = _fault(row, good + 1, previous, known)
        if why:
            broken_at = good + 1
            break
        good, previous = good + 1, row["hash"]
    missing = min((position for position in known if position > good), default=None)
    if broken_at is None and missing is not None:
        broken_at, why = good + 1, f"rows up to {missing} were sealed and are not there"
    c = audit_events.c
    unsealed = sa.select(sa.func.count(), sa.func.min(c.happened_at)).where(c.position.is_(None))
    number, since = connection.execute(unsealed).one()
    return Verdict(good, broken_at, why, number, since, Seal(good, previous))


def _fault(row: Mapping[Any, Any], position: int, previous: str, known: Mapping[int, str]) -> str:
    """Say what is wrong with a row, or nothing."""
    if row["position"] != position:
        return "a row was removed here"
    if row["previous_hash"] != previous:
        return "it does not follow the row before it: one of them was replaced or moved"
    if link_hash(row, position, previous) != row["hash"]:
        return "its content was changed after it was sealed"
    if known.get(position, row["hash"]) != row["hash"]:
        return "its hash is not the one that was noted elsewhere: the chain was written anew"
    return ""


def _chained(connection: Connection) -> Iterator[Mapping[Any, Any]]:
    c = audit_events.c
    after = -1
    while True:
        page = sa.select(audit_events).where(c.position > after).order_by(c.position).limit(5_000)
        rows = connection.execute(page).mappings().all()
        if not rows:
            return
        yield from rows
        after = rows[-1]["position"]
