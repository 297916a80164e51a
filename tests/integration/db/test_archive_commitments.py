"""Requests to PACS for a promise in rows: claims, fences, what ends them (battery P-05)."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.archive_closing import lost, reject
from intu_fhir.db.archive_commitments import (
    claim,
    drop_others,
    instances_of,
    is_due,
    plan,
    put_back,
)
from intu_fhir.db.following import first_missing
from intu_fhir.db.replay import ReplayFilter, ReplayQuery
from intu_fhir.db.replay import put_back as put_back_rows
from intu_fhir.db.session import Database
from intu_fhir.db.tables import (
    deliveries,
    instance_deliveries,
)
from intu_fhir.errors import StaleClaim
from intu_fhir.model.work import DELIVERED, FILTERED, HELD, WAITING
from tests.support.asked import THEN, UIDS, Sent, stage_and_send
from tests.support.clock import FakeClock


@pytest.fixture
def sent(database: Database, clock: FakeClock) -> Sent:
    """Stage a study and send it."""
    return stage_and_send(database, clock)


def test_request_is_claimed_once(sent: Sent) -> None:
    """A request in one worker's hands is no other's, and names every instance."""
    held = sent.claim()
    with sent.database.write() as connection:
        assert claim(connection, "pacs", sent.clock.now(), lease_seconds=60, limit=5) == []
    with sent.database.read() as connection:
        assert [one.sop_instance_uid for one in instances_of(connection, held)] == UIDS
        assert not is_due(connection, "pacs", sent.clock.now())


def test_planning_twice_asks_once(sent: Sent) -> None:
    """A delivery that ends twice leaves one request."""
    with sent.database.write() as connection:
        key = sent.delivery().delivery_key
        assert plan(connection, key, max_instances=10, now=sent.clock.now()) == 0
    assert sent.states() == [("planned", 1)]
    assert sent.delivery().commitment == "asked"


def test_worker_that_dies_while_it_asks(sent: Sent) -> None:
    """P-05: after its lease the request is asked anew by another UID; the old one still counts."""
    dead = sent.claim()
    sent.clock.advance(61)
    assert sent.overdue() is not None
    assert sent.states() == [("unanswered", 1), ("planned", 2)]
    assert sent.claim().transaction_uid != dead.transaction_uid
    with pytest.raises(StaleClaim):
        sent.asked(dead)
    assert sent.hear(dead.transaction_uid, UIDS).kept
    assert sent.delivery().commitment == "committed"


def test_answer_that_is_faster_than_we_are(sent: Sent) -> None:
    """P-05: a result that another process takes before we note the request is not undone."""
    held = sent.claim()
    assert sent.hear(held.transaction_uid, UIDS).kept
    with pytest.raises(StaleClaim):
        sent.asked(held)
    assert sent.states() == [("committed", 1)]


def test_refusal_during_another_delivery(sent: Sent) -> None:
    """P-05: what is refused while late images are on their way goes once more afterwards."""
    held = sent.claim()
    sent.asked(held)
    late = sent.take_late()
    sent.clock.advance(1)
    closed = sent.hear(held.transaction_uid, UIDS[1:], {UIDS[0]: 0x0112})
    assert (closed.committed, closed.failed) == (2, 1)
    with sent.database.write() as connection:
        work.finish(connection, late, state=DELIVERED, now=sent.clock.now())
    row = sent.delivery()
    assert (row.state, row.have) == (WAITING, 2)
    assert row.due_at is not None


@pytest.mark.parametrize("state", [HELD, FILTERED])
def test_refusal_of_a_study_that_is_kept_back(sent: Sent, state: str) -> None:
    """P-05: what is held or left out while late images are on their way goes nowhere by it."""
    held = sent.claim()
    sent.asked(held)
    late = sent.take_late()
    with sent.database.write() as connection:
        sent.want(connection, 3, state)
    sent.hear(held.transaction_uid, UIDS[1:], {UIDS[0]: 0x0112})
    with sent.database.write() as connection:
        work.finish(connection, late, state=DELIVERED, now=sent.clock.now())
    row = sent.delivery()
    assert (row.state, row.due_at) == (state, None)


def test_refusal_told_twice_does_not_undo_what_was_sent_again(sent: Sent) -> None:
    """P-05: a doubled refusal, once the instance was taken again, changes nothing."""
    held = sent.claim()
    sent.asked(held)
    refusal = (held.transaction_uid, UIDS[1:], {UIDS[0]: 0x0112})
    sent.hear(*refusal)
    assert sent.delivery().state == "retrying"
    again = sent.take()
    sent.taken(again)
    assert not sent.hear(*refusal).first
    assert sent.end(again) == 1
    assert sent.states() == [("failed", 1), ("planned", 2)]
    sent.hear(*refusal)
    with sent.database.read() as connection:
        taken = connection.execute(sa.select(instance_deliveries.c.delivered)).scalars().all()
    assert taken == [True] * 3


def test_unanswered_to_the_end(sent: Sent) -> None:
    """P-05: after the last request the delivery is dead; put back, it begins with the first."""
    for number in (1, 2, 3):
        held = sent.claim()
        assert held.number == number
        sent.asked(held)
        sent.clock.advance(3601)
        closed = sent.overdue()
        assert closed is not None
        assert closed.given_up == (number == 3)
    row = sent.delivery()
    assert (row.state, row.commitment, row.last_error) == ("dead", "missing", THEN.error)
    with sent.database.write() as connection:
        values = {"state": WAITING, "due_at": sent.clock.now()}
        connection.execute(sa.update(deliveries).values(**values))
    sent.finish(sent.take())
    assert sent.claim().number == 1


def test_request_that_may_have_reached_the_pacs(sent: Sent) -> None:
    """P-05: an association that broke in the request's course means a new Transaction UID."""
    held = sent.claim()
    with sent.database.write() as connection:
        closed = lost(connection, held, sent.clock.now(), retry_at=sent.clock.now(), then=THEN)
    assert closed is not None
    assert sent.states() == [("unanswered", 1), ("planned", 2)]


def test_request_that_did_not_reach_the_pacs(sent: Sent) -> None:
    """What was not sent keeps its Transaction UID, and counts its tries."""
    held = sent.claim()
    with sent.database.write() as connection:
        put_back(connection, held, sent.clock.now(), "no connection")
    again = sent.claim()
    assert (again.transaction_uid, again.attempts) == (held.transaction_uid, 1)


def test_rejected_request(sent: Sent) -> None:
    """A PACS that takes no requests makes a dead letter at once; a late fence changes nothing."""
    held = sent.claim()
    with sent.database.write() as connection:
        assert reject(connection, held, sent.clock.now(), "not offered; enable it, then replay")
        assert reject(connection, held, sent.clock.now(), "again") is None
    assert (sent.delivery().state, sent.delivery().commitment) == ("dead", "missing")


def test_destination_that_is_not_asked_any_more(sent: Sent) -> None:
    """Where the configuration asks for nothing any more, nothing waits for a promise."""
    with sent.database.write() as connection:
        assert drop_others(connection, ["pacs"]) == 0
        assert drop_others(connection, []) == 1
    assert sent.states() == [("dropped", 1)]
    assert sent.delivery().commitment == ""


def test_who_waits_for_a_promise(sent: Sent) -> None:
    """A follower waits for the promise where it is awaited; for one never asked for it does not."""

    def missing(*awaited: str) -> str:
        key = sent.delivery().study_key
        with sent.database.read() as connection:
            return first_missing(connection, key, ["pacs"], 1, awaited)

    assert missing() == ""
    assert missing("pacs") == "pacs"
    sent.hear(sent.claim().transaction_uid, UIDS)
    assert missing("pacs") == ""
    with sent.database.write() as connection:
        before = {"commitment": "", "committed_generation": 0}
        connection.execute(sa.update(deliveries).values(**before))
    assert missing("pacs") == ""


def test_what_is_sent_again_by_force_is_asked_for_again(sent: Sent) -> None:
    """A promise of what is to be sent once more says nothing of the new copy."""
    held = sent.claim()
    sent.hear(held.transaction_uid, UIDS)
    assert sent.delivery().commitment == "committed"
    rows = ReplayQuery(sent.database, ReplayFilter(destination="pacs")).rows([DELIVERED])
    with sent.database.write() as connection:
        assert put_back_rows(connection, rows, again=True, now=sent.clock.now()) == rows
    assert sent.delivery().commitment == ""
    assert sent.finish(sent.take()) == 3
    assert not sent.hear(held.transaction_uid, UIDS).first, "told twice, of the first copy"
    assert sent.delivery().commitment == "asked"
