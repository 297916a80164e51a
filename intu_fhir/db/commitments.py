"""Requests for storage commitment: listed, checked, reported (PS3.4 annex J).

A claim pushes ``due_at`` into the future and raises ``fence``: a worker that dies on a request
only delays it, and one that was too slow changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.commitment_requests import unpack
from intu_fhir.db.conditions import all_of, given
from intu_fhir.db.holds import share_studies
from intu_fhir.db.tables import associations, instances
from intu_fhir.db.tables import storage_commitment_items as items
from intu_fhir.db.tables import storage_commitments as commitments
from intu_fhir.db.upsert import insert
from intu_fhir.errors import StaleClaim
from intu_fhir.model.commitment import (
    ASKED,
    CHECKED,
    RECEIVED,
    REPORTED,
    UNREPORTED,
    CommitmentClaim,
    CommitmentResult,
    FailureReason,
    ReferencedInstance,
    Requester,
)

COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Due:
    """What is worked on next.

    Args:
        state: ``received``: to be listed; ``asked``: to be checked; ``checked``: to be told.
        titles: only what these AE titles have asked.
        requesters: only what these have asked.
        least_attempts: only results that could not be told so often.
        once: of what these have asked only results that nobody tried to tell yet.
    """

    state: str
    titles: Collection[str] | None = None
    requesters: Collection[Requester] | None = None
    least_attempts: int | None = None
    once: Collection[Requester] = ()

    def conditions(self, now: datetime) -> list[sa.ColumnElement[bool]]:
        """Return what is true of a request that is due; associations have to be joined."""
        c, of = commitments.c, associations.c
        who = sa.tuple_(of.channel, of.called_ae_title, of.calling_ae_title)
        # Of a repeat nothing is checked: it is told as it came.
        if self.state == CHECKED:
            state = sa.or_(c.state == CHECKED, sa.and_(c.state == RECEIVED, c.is_repeat))
        else:
            state = sa.and_(c.state == self.state, ~c.is_repeat | (c.state == ASKED))
        return all_of(
            [state, c.due_at.is_not(None), c.due_at <= now],
            given(c.calling_ae_title.in_, self.titles),
            given(who.in_, self.requesters),
            given(c.attempts.__ge__, self.least_attempts),
            given(lambda them: who.not_in(them) | (c.attempts == 0), self.once or None),
        )


@dataclass(frozen=True, slots=True)
class Unchecked:
    """One instance that was asked for, with what is staged of it, if it is."""

    number: int
    sop_class_uid: str
    sop_instance_uid: str
    staged_class_uid: str | None
    file: str | None
    data_set_offset: int | None
    sha256: str | None
    transfer_syntax_uid: str | None
    damaged_at: datetime | None = None
    instance_key: int | None = None


def is_due(connection: Connection, due: Due, now: datetime) -> bool:
    """Say whether there is something to ``claim``; looking disturbs nobody."""
    found = (
        sa.select(sa.literal(1))
        .join_from(commitments, associations)
        .where(*due.conditions(now))
        .limit(1)
    )
    return connection.execute(found).first() is not None


def claim(
    connection: Connection, due: Due, now: datetime, *, lease_seconds: float
) -> CommitmentClaim | None:
    """Take the request that has been due longest, or return None."""
    c, of = commitments.c, associations.c
    columns = (
        c.commitment_key.label("key"),
        c.transaction_uid,
        c.association_id,
        c.asked_at,
        c.is_repeat,
        c.fence,
        c.attempts,
        c.number_of_instances,
        c.reached,
        c.checked_at,
        c.holds_until,
    )
    found = (
        sa.select(*columns, of.channel, of.called_ae_title, of.calling_ae_title)
        .join_from(commitments, associations)
        .where(*due.conditions(now))
        .order_by(c.due_at, c.commitment_key)
        .limit(1)
        .with_for_update(skip_locked=True, of=commitments)
    )
    row = connection.execute(found).one_or_none()
    if row is None:
        return None
    values = dict(zip((column.key for column in columns), row, strict=False))
    values["fence"] += 1
    held = CommitmentClaim(**values, requester=Requester(*row[len(columns) :]), claimed_at=now)
    connection.execute(
        sa.update(commitments)
        .where(c.commitment_key == held.key)
        .values(due_at=now + timedelta(seconds=lease_seconds), fence=held.fence)
    )
    return held


def keep(connection: Connection, held: CommitmentClaim, until: datetime) -> None:
    """Have the claim last longer.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, due_at=until)


def to_list(connection: Connection, held: CommitmentClaim) -> tuple[ReferencedInstance, ...]:
    """Return the instances of a request that have no rows yet, the next ones first."""
    packed = sa.select(commitments.c.packed).where(commitments.c.commitment_key == held.key)
    return unpack(connection.execute(packed).scalar_one() or b"")[held.reached :]


def list_some(
    connection: Connection, held: CommitmentClaim, number: int, some: Sequence[ReferencedInstance]
) -> None:
    """Give instances rows of their own, the first of them the one of that ``number``.

    A study that is being pruned meanwhile is waited for: it was not seen that these were asked
    for, and its files would be promised until that is committed.

    Raises:
        StaleClaim: another worker has it now.
    """
    if not some:
        return
    share_studies(connection, [instance.sop_instance_uid for instance in some])
    _write(connection, held, reached=number + len(some) - 1)
    rows = [
        {"commitment_key": held.key, "number": at, **instance._asdict()}
        for at, instance in enumerate(some, start=number)
    ]
    connection.execute(insert(connection, items).on_conflict_do_nothing(), rows)


def listed(connection: Connection, held: CommitmentClaim, now: datetime) -> None:
    """Note that every instance has a row; they are due to be looked at.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, state=ASKED, due_at=now, reached=0, packed=None)


def unchecked(connection: Connection, held: CommitmentClaim, limit: int) -> list[Unchecked]:
    """Return the next instances of a request to look at, with what is staged of them."""
    left = _with_staged(held).where(items.c.number > held.reached)
    found = connection.execute(left.order_by(items.c.number).limit(limit))
    return [Unchecked(*row) for row in found]


def staged_now(connection: Connection, held: CommitmentClaim, number: int) -> Unchecked | None:
    """Return one instance of a request once more, with what is staged of it by now."""
    found = connection.execute(_with_staged(held).where(items.c.number == number)).first()
    return Unchecked(*found) if found else None


def _with_staged(held: CommitmentClaim) -> sa.Select[Any]:
    c = instances.c
    return (
        sa.select(
            items.c.number,
            items.c.sop_class_uid,
            items.c.sop_instance_uid,
            c.sop_class_uid,
            # What was pruned is not here any more, so it cannot be promised.
            sa.case((c.pruned_at.is_(None), c.file)),
            c.data_set_offset,
            c.sha256,
            c.transfer_syntax_uid,
            c.damaged_at,
            c.instance_key,
        )
        .join_from(items, instances, c.sop_instance_uid == items.c.sop_instance_uid, isouter=True)
        .where(items.c.commitment_key == held.key)
    )


def store_results(
    connection: Connection, held: CommitmentClaim, results: Sequence[tuple[int, str]]
) -> None:
    """Note what became of some instances, by number, in ascending order.

    Args:
        results: ``committed``, or a Failure Reason as four digits.

    Raises:
        StaleClaim: another worker has it now.
    """
    if results:
        _write(connection, held, reached=results[-1][0])
        connection.execute(
            sa.update(items)
            .where(
                items.c.commitment_key == sa.bindparam("of_key"),
                items.c.number == sa.bindparam("of_number"),
            )
            .values(result=sa.bindparam("to_result")),
            [{"of_key": held.key, "of_number": n, "to_result": result} for n, result in results],
        )


def note_mended(connection: Connection, sound: Iterable[Unchecked]) -> None:
    """Note of files that are what was received that they are not damaged any more.

    One of which damage was noted after it was listed for its look stays as it is.
    """
    c = instances.c
    for one in sorted(sound, key=lambda one: one.instance_key or 0):
        if one.damaged_at is not None:
            same = (c.instance_key == one.instance_key, c.file == one.file)
            noted = sa.update(instances).where(*same, c.damaged_at == one.damaged_at)
            connection.execute(noted.values(damaged_at=None))


def checked(
    connection: Connection, held: CommitmentClaim, now: datetime, holds_until: datetime
) -> None:
    """Note that every instance of a request was looked at; its result is due to be reported.

    Raises:
        StaleClaim: another worker has it now.
    """
    failed = sa.select(sa.func.count()).where(
        items.c.commitment_key == held.key, items.c.result != COMMITTED
    )
    _write(
        connection,
        held,
        state=CHECKED,
        checked_at=now,
        holds_until=holds_until,
        due_at=now,
        reached=0,
        failed=failed.scalar_subquery(),
    )


def is_known_to_be_gone(connection: Connection, held: CommitmentClaim) -> bool:
    """Say whether staging knows that something committed was pruned or damaged since."""
    gone = sa.or_(instances.c.pruned_at.is_not(None), instances.c.damaged_at.is_not(None))
    found = (
        sa.select(sa.literal(1))
        .join_from(items, instances, instances.c.sop_instance_uid == items.c.sop_instance_uid)
        .where(items.c.commitment_key == held.key, items.c.result == COMMITTED, gone)
        .limit(1)
    )
    return connection.execute(found).first() is not None


def check_again(connection: Connection, held: CommitmentClaim, now: datetime) -> None:
    """Have every instance of a request looked at once more before its result is told.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, state=ASKED, due_at=now, reached=0, holds_until=None)


def result(connection: Connection, held: CommitmentClaim) -> CommitmentResult:
    """Return what is to be told of a request whose instances were all looked at."""
    if held.is_repeat and (repeated := _repeated(connection, held)):
        reason = FailureReason.DUPLICATE_TRANSACTION_UID
        return CommitmentResult(
            held.transaction_uid, (), tuple((instance, reason) for instance in repeated)
        )
    found = connection.execute(
        sa.select(items.c.sop_class_uid, items.c.sop_instance_uid, items.c.result)
        .where(items.c.commitment_key == held.key)
        .order_by(items.c.number)
    )
    committed: list[ReferencedInstance] = []
    failed: list[tuple[ReferencedInstance, int]] = []
    for sop_class_uid, sop_instance_uid, outcome in found:
        instance = ReferencedInstance(sop_class_uid, sop_instance_uid)
        if outcome == COMMITTED:
            committed.append(instance)
        else:
            failed.append((instance, int(outcome, 16)))
    return CommitmentResult(held.transaction_uid, tuple(committed), tuple(failed))


def _repeated(connection: Connection, held: CommitmentClaim) -> tuple[ReferencedInstance, ...]:
    """Return what a repeat names; nothing where an older version has listed it."""
    packed = sa.select(commitments.c.packed).where(commitments.c.commitment_key == held.key)
    return unpack(connection.execute(packed).scalar_one() or b"")


def put_back(
    connection: Connection,
    held: CommitmentClaim,
    due_at: datetime,
    *,
    error: str = "",
    holds_until: datetime | None = None,
) -> None:
    """Let a request be due again; with an ``error`` it counts as a failed try.

    Args:
        holds_until: until when what was seen so far holds; None = as before.

    Raises:
        StaleClaim: another worker has it now.
    """
    changes: dict[str, Any] = {"due_at": due_at}
    if holds_until is not None:
        changes["holds_until"] = holds_until
    if error:
        changes |= {"attempts": held.attempts + 1, "last_error": error}
    _write(connection, held, **changes)


def reported(connection: Connection, held: CommitmentClaim, now: datetime) -> None:
    """Note that the requester has taken the result.

    Raises:
        StaleClaim: another worker has it now.
    """
    _write(connection, held, state=REPORTED, reported_at=now, due_at=None, last_error="")


def given_up(connection: Connection, held: CommitmentClaim, error: str) -> None:
    """Note that the result could not be reported, and is not tried again.

    Raises:
        StaleClaim: another worker has it now.
    """
    attempts = held.attempts + 1
    _write(connection, held, state=UNREPORTED, due_at=None, attempts=attempts, last_error=error)


def _write(connection: Connection, held: CommitmentClaim, **values: Any) -> None:
    c = commitments.c
    written = connection.execute(
        sa.update(commitments)
        .where(c.commitment_key == held.key, c.fence == held.fence)
        .values(**values)
    )
    if written.rowcount != 1:
        raise StaleClaim("Another worker has this request for storage commitment now")
