"""Old tries to deliver: whole spans go, what is still needed stays, and what is left is honest."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from intu_fhir.db.activity import activity
from intu_fhir.db.partition_tables import ATTEMPTS
from intu_fhir.db.partitions import next_move
from intu_fhir.db.session import Database
from intu_fhir.db.study_report import study_report
from intu_fhir.db.tables import attempts, audit_events, deliveries, generations, log_beginnings
from intu_fhir.errors import StoreUnavailable
from intu_fhir.upkeep.old_rows import AGAIN_SECONDS, ScheduledRemoval
from tests.support.clock import START, FakeClock
from tests.support.old_attempts import (
    DAY,
    deliver,
    make_old,
    removal,
    remove_old,
    try_once,
)
from tests.support.rows import rows_of
from tests.support.studies import uid

pytestmark = pytest.mark.usefixtures("small_spans")


def test_old_tries_go_and_deliveries_stay(database: Database, clock: FakeClock) -> None:
    """What ended before the limit goes, nothing else; that is on record, and where they begin."""
    make_old(database, clock, "one", "two")
    before = rows_of(database, deliveries)
    remove_old(database, clock)
    [left] = rows_of(database, attempts)
    assert left.ended_at == START + DAY
    assert rows_of(database, deliveries) == before
    acts = rows_of(database, audit_events)
    assert {(row.action, row.actor) for row in acts} == {("attempts_removed", "test")}
    assert sum(row.objects for row in acts) == 2
    [begin] = rows_of(database, log_beginnings)
    assert (begin.log, begin.last_at) == ("attempts", START)
    assert 2 <= begin.last_key < left.attempt_key


def test_removing_twice_changes_nothing(database: Database, clock: FakeClock) -> None:
    """The second run finds nothing: no row, no act."""
    make_old(database, clock, "one")
    remove_old(database, clock)
    acts = rows_of(database, audit_events)
    remove_old(database, clock)
    assert rows_of(database, audit_events) == acts
    assert len(rows_of(database, attempts)) == 1


def test_what_is_young_stays(database: Database, clock: FakeClock) -> None:
    """Nothing goes before its time, nor while what came behind it is younger than the limit."""
    make_old(database, clock, "one")
    remove_old(database, clock, days=11)
    remove_old(database, clock, days=9.5)
    assert len(rows_of(database, attempts)) == 2


def test_the_last_span_stays_however_old(database: Database, clock: FakeClock) -> None:
    """Where nothing has come behind it a span may still grow."""
    deliver(database, clock, "one")
    clock.advance(1_000 * DAY.total_seconds())
    remove_old(database, clock)
    assert len(rows_of(database, attempts)) == 1


@pytest.mark.parametrize("state", ["dead", "waiting", "retrying", "held"])
def test_what_is_not_done_keeps_its_tries(database: Database, clock: FakeClock, state: str) -> None:
    """Tries of a dead letter, or of what is still on its way, stay, and the study is named."""
    make_old(database, clock, "one", state=state)
    [found] = list(removal(database, clock).find(clock.now() - 5 * DAY))
    assert found.kept_by == (uid("one"),)
    remove_old(database, clock)
    assert len(rows_of(database, attempts)) == 2
    assert rows_of(database, log_beginnings) == []


def test_a_part_is_emptied_and_keeps_its_place(database: Database, clock: FakeClock) -> None:
    """On PostgreSQL the part is there without rows, so nobody waits for a table that loses it."""
    if database.is_sqlite:
        pytest.skip("SQLite has no parts")
    make_old(database, clock, "one")
    with database.write() as worker:
        try_once(worker, 2, clock)  # has the table and its last part
        remove_old(database, clock)
    with database.read() as connection:
        first = sa.select(sa.func.count()).select_from(sa.table("attempts_0001"))
        assert connection.execute(first).scalar_one() == 0
    assert len(rows_of(database, attempts)) == 2


def test_whoever_reads_for_long_is_not_waited_for(database: Database, clock: FakeClock) -> None:
    """A part that a backup reads goes ten minutes later; on SQLite readers keep what they see."""
    make_old(database, clock, "one")
    chore = ScheduledRemoval(removal(database, clock), 5)
    with database.snapshot() as backup:
        backup.execute(sa.select(attempts.c.attempt_key)).all()
        assert chore.remove_some() == (1 if database.is_sqlite else 0)
        assert len(backup.execute(sa.select(attempts.c.attempt_key)).all()) == 2
    clock.advance(AGAIN_SECONDS)
    while chore.remove_some():
        pass
    assert len(rows_of(database, attempts)) == 1


def test_no_part_is_cut_while_one_is_emptied(database: Database, clock: FakeClock) -> None:
    """Who comes second leaves it for later, or both could wait in a circle, workers behind."""
    if database.is_sqlite:
        pytest.skip("SQLite has no parts")
    make_old(database, clock, "one")
    removing, before = removal(database, clock), clock.now() - 5 * DAY
    [old] = removing.find(before)
    with database.write() as connection:
        assert next_move(connection, ATTEMPTS, clock.now(), most_keys=0) == "announced"
        with pytest.raises(StoreUnavailable, match="Another process"):
            removing.empty(old.span, before)


def test_the_page_of_a_study_says_what_is_gone(database: Database, clock: FakeClock) -> None:
    """A study from before the tries begin says until when they went, a later one nothing."""
    make_old(database, clock, "one")
    remove_old(database, clock)
    with database.read() as connection:
        old, later = (study_report(connection, uid(name)) for name in ("one", "behind"))
    assert old is not None
    assert later is not None
    assert (old.attempts, old.tries_removed_until) == ([], START)
    assert (len(later.attempts), later.tries_removed_until) == (1, None)


def test_what_is_sent_again_later_took_no_ten_days(database: Database, clock: FakeClock) -> None:
    """Where the first delivery is not known any more, nobody says how long it took."""
    make_old(database, clock, "one")
    with database.write() as connection:
        row = {"generation": 1, "revision": 2, "evidence": "quiet"}
        numbers = {"number_of_series": 1, "number_of_instances": 2}
        for study, at in ((1, START), (2, START + DAY)):
            values = {"study_key": study, "settled_at": at, **row, **numbers}
            connection.execute(sa.insert(generations).values(values))
        try_once(connection, 1, clock)
    _turnaround(database, clock, {uid("one"): START, uid("behind"): START + DAY}, 0)
    remove_old(database, clock)
    _turnaround(database, clock, {uid("behind"): START + DAY}, 0)
    with database.write() as connection:
        try_once(connection, 1, clock)
    _turnaround(database, clock, {uid("behind"): START + DAY}, 0)


def _turnaround(
    database: Database, clock: FakeClock, delivered: dict[str, object], latencies: int
) -> None:
    """See what the view and the page say of how long it took."""
    view = sa.table("v_turnaround", sa.column("study_instance_uid"), sa.column("delivered_at"))
    with database.read() as connection:
        typed = sa.type_coerce(view.c.delivered_at, attempts.c.ended_at.type)
        rows = connection.execute(sa.select(view.c.study_instance_uid, typed)).all()
        assert {row[0]: row[1] for row in rows} == delivered
        since, lengths = clock.now() - timedelta(hours=1), {"seconds": 60, "failure_seconds": 60}
        until = clock.now()
        seen = activity(connection, since, until, **lengths, ehrs=["ehr"])
    assert len(seen.latencies) == latencies
