"""Old events of the audit trail: they go from the beginning, and the chain still tells all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db import old_audit
from intu_fhir.db.audit import Seal, chain_begin, chain_end, record_audit, seal
from intu_fhir.db.audit_chain import Verdict, removal_of, verify
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, log_beginnings
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.upkeep.old_rows import AuditRemoval, ScheduledRemoval
from tests.support.clock import FakeClock
from tests.support.old_attempts import DAY
from tests.support.rows import rows_of
from tests.support.seeded import stage
from tests.support.studies import uid

T = audit_events.c


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_audit, "EVENTS_AT_A_TIME", 3)


def _happen(database: Database, clock: FakeClock, number: int, study: str = "") -> None:
    """Let things happen a second apart, and be sealed."""
    for _ in range(number):
        clock.advance(1)
        event = AuditEvent(Action.VIEWED, clock.now(), "somebody", study_instance_uid=study)
        with database.write() as connection:
            record_audit(connection, event)
    seal(database)


def _removal(database: Database, clock: FakeClock) -> AuditRemoval:
    return AuditRemoval(database, clock, Pruner("test"))


def _remove_old(database: Database, clock: FakeClock, days: float = 5) -> None:
    """Let a site remove what is so old, and seal what it tells of it."""
    chore = ScheduledRemoval(_removal(database, clock), days)
    while chore.remove_some():
        pass
    seal(database)


def _verdict(database: Database, *expected: Seal) -> Verdict:
    with database.snapshot() as connection:
        return verify(connection, expected=expected)


def _end(database: Database) -> Seal:
    with database.read() as connection:
        return chain_end(connection)


@pytest.fixture
def cut(database: Database, clock: FakeClock) -> Database:
    """A trail of twelve events whose first seven were removed."""
    _happen(database, clock, 7)
    clock.advance(DAY.total_seconds() * 10)
    _happen(database, clock, 5)
    _remove_old(database, clock)
    return database


def test_old_events_go_and_the_chain_is_whole(cut: Database) -> None:
    """What is left is verified from where it begins, which is said; the removal is an event."""
    found = _verdict(cut)
    assert (found.broken_at, found.why, found.events) == (None, "", 5 + 3)
    assert found.begin.seal.position == 7
    assert found.begin.until is not None
    assert found.begin.until < found.begin.removed_at
    told = [row for row in rows_of(cut, audit_events) if row.action == "audit_removed"]
    assert [(row.actor, row.objects) for row in told] == [("test", 3), ("test", 3), ("test", 1)]
    assert told[-1].reason.startswith(removal_of(found.begin.seal))


def test_removing_twice_changes_nothing(cut: Database, clock: FakeClock) -> None:
    """A second run has nothing to tell."""
    before = rows_of(cut, audit_events)
    _remove_old(cut, clock)
    assert rows_of(cut, audit_events) == before


def test_it_goes_on_and_on(cut: Database, clock: FakeClock) -> None:
    """Later runs move the beginning, though what told of the first removals goes as well."""
    for _ in range(3):
        clock.advance(DAY.total_seconds() * 10)
        _happen(cut, clock, 2)
        _remove_old(cut, clock)
        assert _verdict(cut).broken_at is None
    assert _verdict(cut).begin.seal.position > 12


def test_the_newest_seal_stays_whatever_its_age(database: Database, clock: FakeClock) -> None:
    """The chain goes on from there, by programs of before as well."""
    _happen(database, clock, 4)
    end = _end(database)
    clock.advance(DAY.total_seconds() * 100)
    _remove_old(database, clock)
    assert [row.position for row in rows_of(database, audit_events)][:1] == [4]
    found = _verdict(database, end)
    assert (found.broken_at, found.events) == (None, 2)


def test_what_is_not_sealed_stays(database: Database, clock: FakeClock) -> None:
    """An event without a place in the chain has none to go from."""
    with database.write() as connection:
        record_audit(connection, AuditEvent(Action.VIEWED, clock.now(), "somebody"))
    clock.advance(DAY.total_seconds() * 100)
    assert _removal(database, clock).remove_some(clock.now()).events == 0
    assert len(rows_of(database, audit_events)) == 1


def test_what_is_young_stays_with_all_behind_it(database: Database, clock: FakeClock) -> None:
    """A chain has no gaps: an old event behind a younger one waits for it."""
    _happen(database, clock, 2)
    clock.step_wall(DAY.total_seconds() * 8)
    _happen(database, clock, 1)
    clock.step_wall(-DAY.total_seconds() * 8)
    _happen(database, clock, 3)
    clock.advance(DAY.total_seconds() * 10)
    _remove_old(database, clock)
    assert _verdict(database).begin.seal.position == 2


@pytest.mark.parametrize("state", ["waiting", "retrying", "held"])
def test_a_study_on_its_way_keeps_its_events(
    database: Database, clock: FakeClock, state: str
) -> None:
    """What a PACS took and nobody was told of yet is counted by them; a dead letter was told of."""
    with database.write() as connection:
        stage(connection, "one", at=clock.now(), deliveries={"pacs": state})
        stage(connection, "two", at=clock.now(), deliveries={"pacs": "dead", "ehr": "delivered"})
    _happen(database, clock, 2, uid("two"))
    _happen(database, clock, 1, uid("one"))
    _happen(database, clock, 2)
    clock.advance(DAY.total_seconds() * 10)
    [*_, last] = _removal(database, clock).find(clock.now())
    assert uid("one") in last.kept_by
    _remove_old(database, clock)
    assert _verdict(database).begin.seal.position == 2


def test_what_does_not_fit_stays_as_evidence(database: Database, clock: FakeClock) -> None:
    """An old event that somebody changed is not removed, nor is what follows it."""
    _happen(database, clock, 6)
    clock.advance(DAY.total_seconds() * 10)
    _happen(database, clock, 1)
    with database.write() as connection:
        connection.execute(sa.update(audit_events).where(T.position == 3).values(actor="nobody"))
    [found] = _removal(database, clock).find(clock.now() - 5 * DAY)
    assert (found.events, found.end.position) == (2, 2)
    assert "broken at event 3" in found.kept_by
    _remove_old(database, clock)
    assert _verdict(database).broken_at == 3
    assert rows_of(database, audit_events)[0].actor == "nobody"


def _drop_first(connection: Any) -> None:
    connection.execute(sa.delete(audit_events).where(T.position == 8))


def _change_first(connection: Any) -> None:
    connection.execute(sa.update(audit_events).where(T.position == 8).values(actor="nobody"))


def _slip_in(connection: Any) -> None:
    row = {"event_id": "x", "action": "viewed", "outcome": "success", "actor": "x"}
    row |= {"actor_kind": "person", "position": 7, "previous_hash": "0" * 64, "hash": "0" * 64}
    at = sa.select(sa.func.min(T.happened_at)).scalar_subquery()
    connection.execute(sa.insert(audit_events).values(happened_at=at, **row))


def _cut_more(connection: Any) -> None:
    """Drop two more and say that the chain begins behind them, as a removal does."""
    last = connection.execute(sa.select(T.hash).where(T.position == 9)).scalar_one()
    connection.execute(sa.delete(audit_events).where(T.position <= 9))
    connection.execute(sa.update(log_beginnings).values(position=9, hash=last))


def _forget(connection: Any) -> None:
    connection.execute(sa.delete(log_beginnings))


def _other_hash(connection: Any) -> None:
    connection.execute(sa.update(log_beginnings).values(hash="f" * 64))


@pytest.mark.parametrize(
    ("tamper", "at"),
    [
        (_drop_first, 8),
        (_change_first, 8),
        (_slip_in, 8),
        (_cut_more, 10),
        (_forget, 1),
        (_other_hash, 8),
    ],
)
def test_what_is_done_to_the_beginning_is_found(
    cut: Database, tamper: Callable[[Any], None], at: int
) -> None:
    """A first row that is gone, changed or not ours, and a beginning that no event tells of."""
    assert _verdict(cut).broken_at is None
    with cut.write() as connection:
        tamper(connection)
    assert _verdict(cut).broken_at == at


def test_seals_from_before_are_compared_as_far_as_can_be(
    database: Database, clock: FakeClock
) -> None:
    """The seal of the last removed row still proves the beginning; older ones are named."""
    _happen(database, clock, 3)
    older = _end(database)
    _happen(database, clock, 4)
    last = _end(database)
    clock.advance(DAY.total_seconds() * 10)
    _happen(database, clock, 1)
    _remove_old(database, clock)
    found = _verdict(database, older, last)
    assert (found.broken_at, found.unchecked) == (None, 1)
    forged = _verdict(database, Seal(last.position, "f" * 64))
    assert (forged.broken_at, "begin" in forged.why) == (8, True)


def test_the_beginning_is_believed_before_the_seal(database: Database, clock: FakeClock) -> None:
    """Between the removal and the seal of its event the chain is right as well."""
    _happen(database, clock, 2)
    clock.advance(DAY.total_seconds() * 10)
    _happen(database, clock, 1)
    assert _removal(database, clock).remove_some(clock.now() - DAY).events == 2
    found = _verdict(database)
    assert (found.broken_at, found.unsealed) == (None, 1)


def test_who_seals_is_not_disturbed(database: Database, clock: FakeClock) -> None:
    """On PostgreSQL a removal that comes while another process has the chain is for later."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    _happen(database, clock, 3)
    with database.write() as connection:
        assert old_audit.have_chain(connection)
        with pytest.raises(StoreUnavailable, match="seals"):
            _removal(database, clock).remove_some(clock.now())


def test_several_remove_and_seal_at_once(database: Database, clock: FakeClock) -> None:
    """Processes that remove, seal and write at once leave one chain, each event removed once."""
    _happen(database, clock, 20)
    clock.advance(DAY.total_seconds() * 10)
    now = clock.now()

    def remove() -> None:
        for _ in range(10):
            _remove_old(database, clock)

    def write() -> None:
        for _ in range(20):
            with database.write() as connection:
                record_audit(connection, AuditEvent(Action.VIEWED, now, "somebody"))
            seal(database)

    at_once = [threading.Thread(target=doing) for doing in (remove, remove, write, write)]
    for one in at_once:
        one.start()
    for one in at_once:
        one.join(60)
    _remove_old(database, clock)
    while seal(database):
        pass
    found = _verdict(database)
    assert (found.broken_at, found.begin.seal.position) == (None, 20)
    with database.read() as connection:
        told = sa.select(sa.func.sum(T.objects)).where(T.action == "audit_removed")
        assert connection.execute(told).scalar_one() == 20
        assert chain_begin(connection).seal.position == 20
