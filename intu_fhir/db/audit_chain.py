"""Looks whether the chain of the audit trail is whole, from where it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import Begin, Seal, chain_begin, link_hash
from intu_fhir.db.audit_tables import audit_events
from intu_fhir.model.audit import Action

AT_A_TIME = 5_000


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
        begin: where it begins; what was before it was removed, and nothing is said of that.
        unchecked: expected seals from before the beginning.
    """

    events: int
    broken_at: int | None
    why: str
    unsealed: int
    unsealed_since: datetime | None
    end: Seal
    begin: Begin = field(default_factory=Begin)
    unchecked: int = 0


def verify(connection: Connection, *, expected: Collection[Seal] = ()) -> Verdict:
    """Recompute the chain from its beginning, as one snapshot.

    A beginning that is not the first row of all is believed where an event that follows in the
    chain tells of that very removal: whoever cuts off more has to write the chain anew, which a
    seal that was kept elsewhere shows.

    Args:
        expected: seals that were kept elsewhere, such as those of the log.
    """
    begin = chain_begin(connection)
    look = _Look(begin.seal, {one.position: one.hash for one in expected})
    for row in chained(connection, -1):
        if look.broken_at is None:
            look.at(row)
    if look.broken_at is None:
        look.at_end(connection)
    c = audit_events.c
    unsealed = sa.select(sa.func.count(), sa.func.min(c.happened_at)).where(c.position.is_(None))
    number, since = connection.execute(unsealed).one()
    return Verdict(
        look.good.position - begin.seal.position,
        look.broken_at,
        look.why,
        number,
        since,
        look.good,
        begin,
        sum(one.position < begin.seal.position for one in expected),
    )


@dataclass
class _Look:
    """How far the chain was found right.

    Args:
        begin: the seal that its first row follows.
        known: hashes that were noted elsewhere, by position.
    """

    begin: Seal
    known: Mapping[int, str]
    broken_at: int | None = None
    why: str = ""
    _told: bool = False

    def __post_init__(self) -> None:
        self.good = self.begin
        if self.known.get(self.begin.position, self.begin.hash) != self.begin.hash:
            self._break("it does not begin behind the row that was noted elsewhere")

    def at(self, row: Mapping[Any, Any]) -> None:
        """Look at the next row."""
        position = self.good.position + 1
        if why := fault(row, position, self.good.hash):
            self._break(why)
        elif self.known.get(position, row["hash"]) != row["hash"]:
            self._break(
                "its hash is not the one that was noted elsewhere: the chain was written anew"
            )
        else:
            self.good = Seal(position, row["hash"])
            self._told |= tells_of(row, self.begin)

    def at_end(self, connection: Connection) -> None:
        """Look at what should have come: rows that were sealed, and word of the beginning."""
        missing = min((one for one in self.known if one > self.good.position), default=None)
        if missing is not None:
            self._break(f"rows up to {missing} were sealed and are not there")
        elif self.begin.position and not self._told and not _waits(connection, self.begin):
            self.good = self.begin
            self._break("no event tells of the removal of what was before it")

    def _break(self, why: str) -> None:
        self.broken_at, self.why = self.good.position + 1, why


def fault(row: Mapping[Any, Any], position: int, previous: str) -> str:
    """Say what is wrong with a row at its place, or nothing."""
    if row["position"] != position:
        return "a row was removed here"
    if row["previous_hash"] != previous:
        return "it does not follow the row before it: one of them was replaced or moved"
    if link_hash(row, position, previous) != row["hash"]:
        return "its content was changed after it was sealed"
    return ""


def tells_of(row: Mapping[Any, Any], begin: Seal) -> bool:
    """Say whether an event is that of the removal of everything up to a seal."""
    return bool(
        row["action"] == Action.AUDIT_REMOVED and row["reason"].startswith(removal_of(begin))
    )


def removal_of(begin: Seal) -> str:
    """Return how the event of a removal begins its reason."""
    return f"up to {begin.position}:{begin.hash}"


def _waits(connection: Connection, begin: Seal) -> bool:
    """Say whether the event of a removal is there and waits for its place."""
    c = audit_events.c
    waiting = sa.select(c.action, c.reason).where(c.position.is_(None))
    return any(tells_of(row, begin) for row in connection.execute(waiting).mappings())


def chained(
    connection: Connection, after: int, at_a_time: int = AT_A_TIME
) -> Iterator[Mapping[Any, Any]]:
    """Give the rows behind a position in their order, some at a time."""
    c, of_chain = audit_events.c, sa.select(audit_events)
    while True:
        page = of_chain.where(c.position > after).order_by(c.position).limit(at_a_time)
        rows = connection.execute(page).mappings().all()
        yield from rows
        if len(rows) < at_a_time:
            return
        after = rows[-1]["position"]
