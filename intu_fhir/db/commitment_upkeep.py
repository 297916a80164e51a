"""Requests for storage commitment that nobody comes for, and those that ended long ago."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.commitment_requests import ANEW
from intu_fhir.db.conditions import all_of, given
from intu_fhir.db.tables import storage_commitment_items as items
from intu_fhir.db.tables import storage_commitments as commitments
from intu_fhir.model.audit import Action, Actor, AuditEvent
from intu_fhir.model.commitment import ASKED, CHECKED, RECEIVED, REPORTED, UNREPORTED

AT_A_TIME = 1_000
"""Rows that one transaction changes: what is received meanwhile does not wait for long."""


def give_up_untaken(
    connection: Connection, before: datetime, now: datetime, *, error: str
) -> list[str]:
    """Give up results that wait since ``before``; return the AE titles that did not come.

    They take no place any more among those that wait.
    """
    c = commitments.c
    ready = sa.or_(
        sa.and_(c.state == CHECKED, c.checked_at < before),
        sa.and_(c.state == RECEIVED, c.is_repeat, c.asked_at < before),
    )
    old = (
        sa.select(c.commitment_key)
        .where(ready, c.due_at.is_not(None), c.due_at <= now)
        .order_by(c.due_at)
        .limit(AT_A_TIME)
        .with_for_update(skip_locked=True)
    )
    changed = (
        sa.update(commitments)
        .where(c.commitment_key.in_(old))
        .values(state=UNREPORTED, due_at=None, last_error=error)
    )
    return list(connection.execute(changed.returning(c.calling_ae_title)).scalars())


def oldest_kept(connection: Connection, most: int) -> datetime | None:
    """Return when the oldest request was asked of the newest that ended and name ``most`` at most.

    None where all that ended name no more instances than that: the sum of all is asked for first,
    since it is cheaper than the sums of each and all newer ones.
    """
    c = commitments.c
    all_of_them = sa.select(sa.func.sum(c.number_of_instances)).where(c.due_at.is_(None))
    if (connection.execute(all_of_them).scalar_one() or 0) <= most:
        return None
    newest_first = sa.func.sum(c.number_of_instances).over(order_by=c.asked_at.desc())
    summed = (
        sa.select(c.asked_at, newest_first.label("so_far")).where(c.due_at.is_(None)).subquery()
    )
    too_much = sa.select(sa.func.max(summed.c.asked_at)).where(summed.c.so_far > most)
    newest_gone: datetime = connection.execute(too_much).scalar_one()
    return newest_gone + timedelta(microseconds=1)


def forget_some(connection: Connection, before: datetime) -> int:
    """Remove some of the oldest request that ended and was asked ``before``; 0 where none is."""
    c = commitments.c
    oldest = (
        sa.select(c.commitment_key)
        .where(c.asked_at < before, c.due_at.is_(None), c.state.in_((REPORTED, UNREPORTED)))
        .order_by(c.asked_at)
        .limit(1)
        # Asked anew it is no old one any more, and needs all of its instances.
        .with_for_update(skip_locked=True)
    )
    key = connection.execute(oldest).scalar_one_or_none()
    if key is None:
        return 0
    numbers = sa.select(items.c.number).where(items.c.commitment_key == key).limit(AT_A_TIME)
    gone = connection.execute(
        sa.delete(items).where(items.c.commitment_key == key, items.c.number.in_(numbers))
    ).rowcount
    if gone < AT_A_TIME:
        connection.execute(sa.delete(commitments).where(c.commitment_key == key))
    return int(gone) + 1


def tell_again(
    connection: Connection,
    now: datetime,
    *,
    by: str,
    address: str = "",
    transactions: Collection[str] | None = None,
    requester: str | None = None,
) -> int:
    """Let results that were given up be told again, after another look; return how many.

    Those whose instances are not known any more stay as they are: nothing can be said of them.

    Args:
        by: the person who asks, for the audit trail; ``address``: from where.
    """
    c = commitments.c
    rows = sa.select(sa.func.count()).where(items.c.commitment_key == c.commitment_key)
    is_known = c.packed.is_not(None) | (
        rows.correlate(commitments).scalar_subquery() == c.number_of_instances
    )
    chosen = all_of(
        [c.state == UNREPORTED, is_known],
        given(c.transaction_uid.in_, transactions),
        given(c.calling_ae_title.__eq__, requester),
    )
    again = {
        "state": sa.case((c.packed.is_not(None), RECEIVED), else_=ASKED),
        "asked_at": now,
        "due_at": now,
        **ANEW,
    }
    count = int(connection.execute(sa.update(commitments).where(*chosen).values(again)).rowcount)
    if count:
        reason = "results of storage commitment are told again"
        event = AuditEvent(
            Action.REPLAYED, now, by, Actor.PERSON, address=address, objects=count, reason=reason
        )
        record_audit(connection, event)
    return count
