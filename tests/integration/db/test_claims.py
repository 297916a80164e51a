"""Which delivery is next: fresh before backlog, within the limits of its destination."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.destinations import remember
from intu_fhir.db.gates import store_state
from intu_fhir.db.lanes import FRESH_SECONDS
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries
from intu_fhir.deliver.outcomes import failed
from intu_fhir.model.destination import CLOSED, HALF_OPEN, OPEN, BreakerState
from intu_fhir.model.outcome import Delivered, Hold, Retry
from intu_fhir.model.work import DELIVER, RETRYING, Claim
from intu_fhir.pipeline.breaker import Breakers
from intu_fhir.settings.schema import BreakerSettings, DicomDestination
from tests.support.clock import START, FakeClock
from tests.support.seeded import stage

PACS = DicomDestination(
    type="dicom",
    host="127.0.0.1",
    port=104,
    called_ae_title="PACS",
    breaker=BreakerSettings(failures=2, first_seconds=10),
)


@pytest.fixture
def clock() -> FakeClock:
    """The time at which what is staged is due."""
    return FakeClock(START + timedelta(seconds=60))


def _stage(database: Database, number: int) -> None:
    with database.write() as connection:
        for index in range(number):
            stage(connection, f"pacs{index}", deliveries={"pacs": "waiting"})


def _claim(
    database: Database,
    clock: FakeClock,
    *,
    limit: int | None = None,
    per_minute: float | None = None,
    backlog_first: bool = False,
) -> Claim | None:
    with database.write() as connection:
        return work.claim(
            connection,
            DELIVER,
            "pacs",
            holder="w",
            now=clock.now(),
            lease_seconds=60,
            limit=limit,
            per_minute=per_minute,
            backlog_first=backlog_first,
        )


def _next_due(database: Database, clock: FakeClock, limit: int | None = None) -> object:
    with database.read() as connection:
        return work.next_due_at(connection, DELIVER, "pacs", clock.now(), limit=limit)


def _to_backlog(database: Database, clock: FakeClock) -> str:
    claim = _claim(database, clock)
    assert claim is not None
    with database.write() as connection:
        work.fail(connection, claim, state=RETRYING, error="x", due_at=clock.now(), now=clock.now())
    return claim.study_instance_uid


def _set(database: Database, clock: FakeClock, state: BreakerState) -> None:
    with database.write() as connection:
        remember(connection, "pacs", clock.now())
        store_state(connection, "pacs", state, clock.now())


def test_fresh_work_goes_before_what_failed(database: Database, clock: FakeClock) -> None:
    """What failed waits for what is new, and is next when nothing new is there."""
    _stage(database, 2)
    failed = _to_backlog(database, clock)
    fresh, then = _claim(database, clock), _claim(database, clock)
    assert fresh is not None
    assert then is not None
    assert (fresh.study_instance_uid != failed, then.study_instance_uid) == (True, failed)
    assert then.backlog


def test_a_part_of_the_claims_takes_the_backlog_first(database: Database, clock: FakeClock) -> None:
    """Backlog does not wait for ever behind fresh work."""
    _stage(database, 2)
    failed = _to_backlog(database, clock)
    claim = _claim(database, clock, backlog_first=True)
    assert claim is not None
    assert claim.study_instance_uid == failed


def test_what_waited_for_long_is_backlog(database: Database, clock: FakeClock) -> None:
    """After hours without the destination a new study goes before those that waited."""
    _stage(database, 1)
    clock.advance(FRESH_SECONDS + 60)
    with database.write() as connection:
        stage(connection, "new", deliveries={"pacs": "waiting"})
        newest = sa.select(sa.func.max(deliveries.c.delivery_key)).scalar_subquery()
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.delivery_key == newest)
            .values(due_at=clock.now())
        )
    claim = _claim(database, clock)
    assert claim is not None
    assert claim.due_at == clock.now()


def _abandon(database: Database, clock: FakeClock) -> str:
    claim = _claim(database, clock)
    assert claim is not None
    clock.advance(61)
    return claim.study_instance_uid


def test_what_a_worker_died_on_goes_before_all_else(database: Database, clock: FakeClock) -> None:
    """With work for an hour waiting, a killed worker's study is the next once its lease ended."""
    _stage(database, 3)
    failed = _to_backlog(database, clock)
    left = _abandon(database, clock)
    clock.advance(FRESH_SECONDS)
    with database.write() as connection:
        stage(connection, "new", deliveries={"pacs": "waiting"})
        newest = sa.select(sa.func.max(deliveries.c.delivery_key)).scalar_subquery()
        of_newest = deliveries.c.delivery_key == newest
        connection.execute(sa.update(deliveries).where(of_newest).values(due_at=clock.now()))
    claim = _claim(database, clock, limit=2)
    assert claim is not None
    assert (claim.study_instance_uid, claim.attempts) == (left, 1)
    assert left != failed


def test_what_a_worker_died_on_takes_no_last_place(database: Database, clock: FakeClock) -> None:
    """A study that kills its workers leaves a place to the others, as one that fails does."""
    _stage(database, 3)
    failed = _to_backlog(database, clock)
    left = _claim(database, clock)
    clock.advance(30)
    trying = _claim(database, clock, backlog_first=True)
    clock.advance(31)
    fresh = _claim(database, clock, limit=2)
    assert left is not None
    assert trying is not None
    assert fresh is not None
    assert trying.study_instance_uid == failed
    assert fresh.study_instance_uid not in {left.study_instance_uid, failed}
    then = _claim(database, clock, limit=3)
    assert then is not None
    assert then.study_instance_uid == left.study_instance_uid


def test_what_may_not_be_taken_is_not_said_to_be_due(database: Database, clock: FakeClock) -> None:
    """While what failed has all places but the last, the rest of it waits for the end of a lease:
    whoever was told that it is due, and got nothing, would ask again at once.
    """
    _stage(database, 3)
    for _ in range(2):
        _to_backlog(database, clock)
    abandoned = _claim(database, clock)
    clock.advance(30)
    trying = _claim(database, clock, backlog_first=True)
    clock.advance(31)
    assert abandoned is not None
    assert trying is not None
    assert _next_due(database, clock, limit=2) == trying.lease_until
    assert _claim(database, clock, limit=2) is None
    with database.write() as connection:
        stage(connection, "new", deliveries={"pacs": "waiting"})
    assert _next_due(database, clock, limit=2) == clock.now()
    fresh = _claim(database, clock, limit=2)
    assert fresh is not None
    assert _next_due(database, clock, limit=2) == trying.lease_until
    assert _next_due(database, clock, limit=4) == clock.now()
    assert _claim(database, clock, limit=4) is not None


def test_the_rate_limit_holds_over_all_claims(database: Database, clock: FakeClock) -> None:
    """Thirty a minute are one every two seconds, and the next is due when it may go."""
    _stage(database, 3)
    assert _claim(database, clock, per_minute=30) is not None
    assert _claim(database, clock, per_minute=30) is None
    assert _next_due(database, clock) == clock.now() + timedelta(seconds=2)
    clock.advance(2)
    assert _claim(database, clock, per_minute=30) is not None


def test_what_failed_leaves_the_last_place_to_others(database: Database, clock: FakeClock) -> None:
    """A study that hangs its worker again and again does not take all places."""
    _stage(database, 3)
    failed = {_to_backlog(database, clock) for _ in range(2)}
    first = _claim(database, clock, limit=2, backlog_first=True)
    second = _claim(database, clock, limit=2, backlog_first=True)
    assert first is not None
    assert second is not None
    assert first.study_instance_uid in failed
    assert second.study_instance_uid not in failed


def test_what_was_put_back_leaves_the_last_place_to_others(
    database: Database, clock: FakeClock
) -> None:
    """However much is replayed, a new study finds a place at once."""
    _stage(database, 4)
    with database.write() as connection:
        connection.execute(sa.update(deliveries).values(backlog=True))
    claims = [_claim(database, clock, limit=3) for _ in range(3)]
    assert [claim is None for claim in claims] == [False, False, True]
    with database.write() as connection:
        stage(connection, "new", deliveries={"pacs": "waiting"})
    claim = _claim(database, clock, limit=3)
    assert claim is not None
    assert not claim.backlog


def test_one_probe_goes_to_a_destination_that_is_down(database: Database, clock: FakeClock) -> None:
    """Nothing goes out before the time of the probe, and then one study only."""
    _stage(database, 3)
    probe_at = clock.now() + timedelta(seconds=10)
    _set(database, clock, BreakerState(OPEN, silences=5, next_probe_at=probe_at))
    assert _claim(database, clock, limit=3) is None
    assert _next_due(database, clock) == probe_at
    clock.advance(10)
    assert _claim(database, clock, limit=3) is not None
    assert _claim(database, clock, limit=3) is None


def test_a_destination_that_recovers_gets_as_many_as_it_is_allowed(
    database: Database, clock: FakeClock
) -> None:
    """What waited for hours does not go out all at once."""
    _stage(database, 3)
    _set(database, clock, BreakerState(HALF_OPEN, allowed=2))
    assert [_claim(database, clock, limit=3) is None for _ in range(3)] == [False, False, True]


def test_a_breaker_opens_and_closes_in_the_database(database: Database, clock: FakeClock) -> None:
    """All workers see that a destination is down, and that it answers again."""
    breakers = Breakers({"pacs": PACS})
    silent, seen = Retry(detail="no answer", silent=True), []
    outcomes = (silent, silent, Hold("x", "y"), Delivered(), Delivered())
    for outcome in outcomes:
        with database.write() as connection:
            breakers.note(connection, "pacs", outcome, clock.now(), 1.0)
            states = sa.text("SELECT breaker FROM destination_states")
            seen.append(connection.execute(states).scalar_one())
    assert seen == [CLOSED, OPEN, OPEN, HALF_OPEN, CLOSED]


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (failed(429, "", 40.0), 40),
        (failed(429), 10),
        (failed(503, "", 40.0), 40),
        (failed(429, "", 10.0**12), 900),
    ],
    ids=["so long", "does not say", "not available", "without end"],
)
def test_who_asks_for_fewer_requests_gets_no_study(
    database: Database, clock: FakeClock, outcome: Retry, seconds: int
) -> None:
    """The destination as a whole is left alone for as long as it asks; no study pays for that."""
    _stage(database, 3)
    with database.write() as connection:
        Breakers({"pacs": PACS}, 900).note(connection, "pacs", outcome, clock.now(), 1.0)
    until = clock.now() + timedelta(seconds=seconds)
    assert _claim(database, clock, limit=3) is None
    assert _next_due(database, clock) == until
    clock.advance(seconds)
    claims = [_claim(database, clock, limit=3) for _ in range(3)]
    assert [claim.attempts for claim in claims if claim] == [0, 0, 0]


def test_a_shorter_wish_ends_no_longer_one(database: Database, clock: FakeClock) -> None:
    """Of several answers the one that asks for most time counts."""
    _stage(database, 1)
    until = clock.now() + timedelta(seconds=90)
    for seconds in (90.0, 5.0):
        with database.write() as connection:
            outcome = failed(429, "", seconds)
            Breakers({"pacs": PACS}).note(connection, "pacs", outcome, clock.now(), 1.0)
    assert _next_due(database, clock) == until


@pytest.mark.parametrize(
    "state", [BreakerState(OPEN, silences=5), BreakerState(HALF_OPEN, allowed=1)]
)
def test_a_wish_for_fewer_requests_makes_nobody_well(
    database: Database, clock: FakeClock, state: BreakerState
) -> None:
    """A destination that is down, or recovers, gets no more studies than before by a 429."""
    _stage(database, 3)
    _set(database, clock, state)
    with database.write() as connection:
        down = Breakers({"pacs": PACS}).note(
            connection, "pacs", failed(429, "", 7.0), clock.now(), 1.0
        )
    assert down == (state.breaker == OPEN)
    clock.advance(7)
    assert [_claim(database, clock, limit=3) is None for _ in range(2)] == [False, True]
