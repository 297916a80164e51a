"""What a PACS answers to a request: promised, refused, left out (PS3.4 J.3.3).

A promise counts whenever it comes, even after a newer request for the same instances. A refusal
counts only where it answers the newest one: meanwhile the instance may have been sent again. An
answer that is told twice counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.archive_closing import (
    Known,
    ask_again,
    end,
    give_up,
    in_turn,
    left_out,
    send_again,
)
from intu_fhir.db.archive_commitments import close_ledger
from intu_fhir.db.tables import instance_deliveries, instances
from intu_fhir.model.archive_commitment import (
    COMMITTED,
    FAILED,
    OPEN,
    Closed,
    NextTry,
    reason_text,
)
from intu_fhir.model.commitment import CommitmentResult
from intu_fhir.model.work import DEAD

_AT_A_TIME = 500
_ANSWERED = (COMMITTED, FAILED)


def answer(
    connection: Connection,
    seen: Known,
    result: CommitmentResult,
    now: datetime,
    *,
    retry_at: datetime,
    then: NextTry,
) -> Closed:
    """Write down what a PACS has answered.

    Args:
        retry_at: when to send again what it does not keep, and to ask again for what it left out.
    """
    request = in_turn(connection, seen)
    if request.state in _ANSWERED:  # told twice
        return request.closed(request.state, first=False)
    of_study = _Instances(connection, request.delivery_key)
    kept = of_study.keys(one.sop_instance_uid for one in result.committed)
    refused = of_study.refusals(request, result)
    first = request.state in OPEN
    _mark_committed(connection, request.delivery_key, kept, now)
    if first or request.delivery_state == DEAD:  # else it may be on its way there once more
        _mark_refused(connection, request.delivery_key, refused, now)
    closed = request.closed(
        FAILED if result.failed else COMMITTED,
        committed=len(kept),
        failed=len(refused),
        foreign=of_study.foreign(result),
        first=first,
        reasons=tuple(sorted({reason for _, reason in result.failed})),
    )
    if first:
        return _first_answer(connection, request, closed, now, retry_at, then)
    return replace(closed, kept=close_ledger(connection, request.delivery_key, now))


def _first_answer(
    connection: Connection,
    request: Known,
    closed: Closed,
    now: datetime,
    retry_at: datetime,
    then: NextTry,
) -> Closed:
    unnamed = left_out(connection, request)
    error = ", ".join(map(reason_text, closed.reasons))
    if unnamed and not error:
        error = f"the PACS says nothing of {len(unnamed)} instances"
        closed = replace(closed, state=FAILED)
    end(connection, request, closed.state, error, answered_at=now, failed=closed.failed)
    if not (unnamed or closed.failed):
        return replace(closed, kept=close_ledger(connection, request.delivery_key, now))
    if request.number >= then.max_tries:
        give_up(connection, request, then.error, now)
        return replace(closed, given_up=True)
    if closed.failed:
        send_again(connection, request, retry_at, error, now)
    else:
        ask_again(connection, request, unnamed, retry_at, now)
    return closed


class _Instances:
    """The instances of a delivery by UID."""

    def __init__(self, connection: Connection, delivery_key: int) -> None:
        i = instance_deliveries.c
        found = (
            sa.select(
                instances.c.sop_instance_uid,
                i.instance_key,
                i.delivered,
                i.committed_at,
                i.request_key,
            )
            .join_from(instance_deliveries, instances, instances.c.instance_key == i.instance_key)
            .where(i.delivery_key == delivery_key)
        )
        self._rows = {row.sop_instance_uid: row for row in connection.execute(found)}

    def keys(self, uids: Iterable[str]) -> list[int]:
        """Return those that the PACS was sent and that it has not promised before."""
        rows = (self._rows.get(uid) for uid in dict.fromkeys(uids))
        return [r.instance_key for r in rows if r and r.delivered and r.committed_at is None]

    def refusals(self, request: Known, result: CommitmentResult) -> dict[int, int]:
        """Return Failure Reasons by key, of those that this request was the last to ask for."""
        promised = {one.sop_instance_uid for one in result.committed}
        found = {}
        for one, reason in result.failed:
            row = self._rows.get(one.sop_instance_uid)
            mine = row is not None and row.request_key == request.request_key
            if row and mine and row.committed_at is None and row.sop_instance_uid not in promised:
                found[row.instance_key] = reason
        return found

    def foreign(self, result: CommitmentResult) -> int:
        """Count what was never sent there for this study."""
        named = [*result.committed, *(one for one, _ in result.failed)]
        return sum(one.sop_instance_uid not in self._rows for one in named)


def _mark_committed(
    connection: Connection, delivery_key: int, keys: Sequence[int], now: datetime
) -> None:
    i = instance_deliveries.c
    for begin in range(0, len(keys), _AT_A_TIME):
        connection.execute(
            sa.update(instance_deliveries)
            .where(
                i.delivery_key == delivery_key,
                i.instance_key.in_(keys[begin : begin + _AT_A_TIME]),
            )
            .values(committed_at=now)
        )


def _mark_refused(
    connection: Connection, delivery_key: int, reasons: dict[int, int], now: datetime
) -> None:
    """Let the instances count as not taken, so that they are sent again."""
    if not reasons:
        return
    i = instance_deliveries.c
    connection.execute(
        sa.update(instance_deliveries)
        .where(i.delivery_key == delivery_key, i.instance_key == sa.bindparam("of_key"))
        .values(
            delivered=False,
            status=sa.bindparam("to_status"),
            detail=sa.bindparam("to_detail"),
            answered_at=now,
        ),
        [
            {
                "of_key": key,
                "to_status": f"{reason:04X}",
                "to_detail": f"taken, but not committed: {reason_text(reason)}",
            }
            for key, reason in reasons.items()
        ],
    )
