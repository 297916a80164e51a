"""A request to a PACS that ends, and what follows: asked again, sent again, or left to a person.

Whoever ends one takes the study's turn first (``db.holds.lock_study``): a delivery that ends at
the same moment plans the next request, and who comes after this destination looks at the promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.archive_commitments import insert_request
from intu_fhir.db.holds import lock_study
from intu_fhir.db.tables import archive_commitments as requests
from intu_fhir.db.tables import deliveries, instance_deliveries, studies
from intu_fhir.model.archive_commitment import (
    ASKED,
    ASKING,
    MISSING,
    REFUSED,
    REJECTED,
    UNANSWERED,
    AskClaim,
    Closed,
    NextTry,
)
from intu_fhir.model.cause import cause_of
from intu_fhir.model.work import DEAD, DELIVERED, FILTERED, HELD, RETRYING


@dataclass(frozen=True, slots=True)
class Known:
    """A request of ours, as it stands."""

    request_key: int
    delivery_key: int
    study_key: int
    study_instance_uid: str
    destination: str
    state: str
    number: int
    fence: int
    delivery_state: str

    def closed(self, state: str, **more: Any) -> Closed:
        """Say how it ended."""
        return Closed(self.destination, self.study_instance_uid, state, **more)


def find_request(connection: Connection, transaction_uid: str) -> Known | None:
    """Return the request of a transaction, if it is ours; nobody else is kept off it."""
    return _find(connection, requests.c.transaction_uid == transaction_uid)


def _find(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Known | None:
    r = requests.c
    found = (
        sa.select(
            r.request_key,
            r.delivery_key,
            deliveries.c.study_key,
            studies.c.study_instance_uid,
            r.destination,
            r.state,
            r.number,
            r.fence,
            deliveries.c.state.label("delivery_state"),
        )
        .join_from(requests, deliveries, deliveries.c.delivery_key == r.delivery_key)
        .join(studies, studies.c.study_key == deliveries.c.study_key)
        .where(*conditions)
        .order_by(r.due_at, r.request_key)
        .limit(1)
    )
    row = connection.execute(found).mappings().one_or_none()
    return None if row is None else Known(**row)


def in_turn(connection: Connection, seen: Known) -> Known:
    """Take the study's turn, and return the request as it stands now."""
    lock_study(connection, seen.study_key)
    known = _find(connection, requests.c.request_key == seen.request_key)
    assert known is not None, "rows of requests are never removed"
    return known


def left_out(connection: Connection, request: Known) -> list[int]:
    """Return the instances of a request that the PACS has neither promised nor refused."""
    i = instance_deliveries.c
    found = sa.select(i.instance_key).where(
        i.delivery_key == request.delivery_key,
        i.request_key == request.request_key,
        i.delivered,
        i.committed_at.is_(None),
    )
    return list(connection.execute(found.order_by(i.instance_key)).scalars())


def end(connection: Connection, request: Known, state: str, error: str, **more: Any) -> None:
    """Write down how a request ended."""
    connection.execute(
        sa.update(requests)
        .where(requests.c.request_key == request.request_key)
        .values(state=state, due_at=None, fence=request.fence + 1, last_error=error, **more)
    )


def ask_again(
    connection: Connection, request: Known, keys: Sequence[int], at: datetime, now: datetime
) -> None:
    """Plan the next request for some of its instances."""
    number = request.number + 1
    insert_request(connection, request.delivery_key, keys, number=number, now=now, due_at=at)


def send_again(
    connection: Connection, request: Known, at: datetime, error: str, now: datetime
) -> None:
    """Put a delivery back: what it lacks now is sent again.

    Where it is on its way it goes once more afterwards; where it waits, is kept back meanwhile or
    needs a person anyway, the refused instances go with the rest.
    """
    d = deliveries.c
    its_own = d.delivery_key == request.delivery_key
    connection.execute(
        sa.update(deliveries).where(its_own).values(commitment=REFUSED, updated_at=now)
    )
    goes_on = d.state.not_in((HELD, FILTERED))
    connection.execute(
        sa.update(deliveries).where(its_own, d.lease_holder != "", goes_on).values(due_at=at)
    )
    words = f"The PACS took every image, but does not promise to keep all: {error}; "
    connection.execute(
        sa.update(deliveries)
        .where(its_own, d.lease_holder == "", d.state == DELIVERED)
        .values(state=RETRYING, due_at=at, **_failure(f"{words}it is tried again by itself", now))
    )


def give_up(connection: Connection, request: Known, error: str, now: datetime) -> None:
    """Leave the promise to a person: a delivery that was done becomes a dead letter."""
    connection.execute(
        sa.update(requests)
        .where(requests.c.request_key == request.request_key)
        .values(given_up=True)
    )
    d = deliveries.c
    its_own = d.delivery_key == request.delivery_key
    connection.execute(
        sa.update(deliveries).where(its_own).values(commitment=MISSING, updated_at=now)
    )
    connection.execute(
        sa.update(deliveries)
        .where(its_own, d.lease_holder == "", d.state == DELIVERED)
        .values(state=DEAD, due_at=None, **_failure(error, now))
    )


def _failure(error: str, now: datetime) -> dict[str, Any]:
    d = deliveries.c
    return {
        "attempts": d.attempts + 1,
        "backlog": True,
        "last_failed_at": now,
        "first_failed_at": sa.func.coalesce(d.first_failed_at, sa.literal(now, d.due_at.type)),
        "last_error": error,
        "cause": cause_of(error),
    }


def close_overdue(
    connection: Connection, destination: str, now: datetime, *, retry_at: datetime, then: NextTry
) -> Closed | None:
    """End the request that has been overdue longest and ask again, or ask a person."""
    r = requests.c
    overdue = (r.destination == destination, r.state.in_((ASKING, ASKED)), r.due_at <= now)
    seen = _find(connection, *overdue, r.due_at.is_not(None))
    if seen is None:
        return None
    request = in_turn(connection, seen)
    if (request.state, request.fence) != (seen.state, seen.fence):
        return request.closed(request.state, first=False)
    return _unanswered(connection, request, now, retry_at=retry_at, then=then)


def lost(
    connection: Connection, held: AskClaim, now: datetime, *, retry_at: datetime, then: NextTry
) -> Closed | None:
    """End a request of which nobody knows whether the PACS has it; None where it has ended."""
    request = _held(connection, held)
    if request is None:
        return None
    return _unanswered(connection, request, now, retry_at=retry_at, then=then)


def reject(connection: Connection, held: AskClaim, now: datetime, error: str) -> Closed | None:
    """End a request that the PACS does not take, and ask a person; None where it has ended."""
    request = _held(connection, held)
    if request is None:
        return None
    end(connection, request, REJECTED, error)
    give_up(connection, request, error, now)
    return request.closed(REJECTED, given_up=True)


def _held(connection: Connection, held: AskClaim) -> Known | None:
    seen = _find(connection, requests.c.request_key == held.key)
    assert seen is not None, "rows of requests are never removed"
    request = in_turn(connection, seen)
    return request if (request.state, request.fence) == (ASKING, held.fence) else None


def _unanswered(
    connection: Connection, request: Known, now: datetime, *, retry_at: datetime, then: NextTry
) -> Closed:
    end(connection, request, UNANSWERED, "no answer in time")
    unnamed = left_out(connection, request)
    if not unnamed:
        return request.closed(UNANSWERED)
    if request.number >= then.max_tries:
        give_up(connection, request, then.error, now)
        return request.closed(UNANSWERED, given_up=True)
    ask_again(connection, request, unnamed, retry_at, now)
    return request.closed(UNANSWERED)
