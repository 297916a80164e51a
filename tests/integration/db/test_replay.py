"""Replay puts back what failed, and only that, unless a person insists."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db import work
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.readonly import RefusedQuery
from intu_fhir.db.replay import ReplayFilter, ReplayQuery, put_back, replay_columns
from intu_fhir.db.session import Database
from intu_fhir.errors import StaleClaim
from intu_fhir.model.work import (
    BUILD,
    DEAD,
    DELIVER,
    DELIVERED,
    HELD,
    RUNNING,
    WAITING,
    DeliveryWish,
)
from intu_fhir.pipeline.replay import LEFT_ALONE, Replayed, ReplaySelection, replay
from tests.support.clock import START, FakeClock
from tests.support.seeded import stage
from tests.support.studies import uid

HOUR = timedelta(hours=1)
STATES = ("dead", "retrying", "delivered", "waiting", "held", "filtered")


@pytest.fixture
def staged(database: Database) -> Database:
    """Give a database with a delivery in every state and one dead build."""
    with database.write() as connection:
        stage(connection, "all", deliveries={f"to_{state}": state for state in STATES})
        stage(connection, "later", at=START + HOUR, build="dead", patient_id="P2")
    return database


def _replay(
    database: Database,
    *,
    rebuild: bool = False,
    force: bool = False,
    dry_run: bool = False,
    **wanted: Any,
) -> Replayed:
    clock = FakeClock(START + 2 * HOUR)
    selection = ReplaySelection(ReplayFilter(**wanted), rebuild, force, dry_run)
    return replay(database, clock, selection)


def _due(database: Database) -> set[str]:
    """Return what became due at the time of the replay."""
    now = START + 2 * HOUR
    with database.read() as connection:
        sent = connection.execute(
            sa.select(t.deliveries.c.destination).where(
                t.deliveries.c.due_at == now,
                t.deliveries.c.state == WAITING,
                t.deliveries.c.attempts == 0,
                t.deliveries.c.have < t.deliveries.c.want,
            )
        ).scalars()
        steps = connection.execute(sa.select(t.work.c.step).where(t.work.c.due_at == now)).scalars()
        return {*sent, *steps}


def test_what_failed_becomes_due(staged: Database) -> None:
    """Dead and retrying work becomes due; everything else is left alone with its reason."""
    done = _replay(staged)
    assert (done.deliveries, done.steps, done.studies) == (2, 1, 0)
    assert _due(staged) == {"to_dead", "to_retrying", "build"}
    assert done.left == {LEFT_ALONE[s]: 1 for s in ("delivered", "waiting", "held", "filtered")}


def test_twice_is_as_good_as_once(staged: Database) -> None:
    """A second replay finds nothing more to do."""
    _replay(staged)
    assert (_replay(staged).deliveries, _replay(staged).steps) == (0, 0)


def test_a_dry_run_counts_and_changes_nothing(staged: Database) -> None:
    """The count of a dry run is that of the real run."""
    counted = _replay(staged, dry_run=True)
    assert _due(staged) == set()
    done = _replay(staged)
    assert (counted.deliveries, counted.steps) == (done.deliveries, done.steps)


@pytest.mark.parametrize(
    ("wanted", "due"),
    [
        ({"study_instance_uid": uid("all")}, {"to_dead", "to_retrying"}),
        ({"destination": "to_dead"}, {"to_dead"}),
        ({"states": ("retrying",)}, {"to_retrying"}),
        ({"since": START + HOUR}, {"build"}),
        ({"until": START + HOUR}, {"to_dead", "to_retrying"}),
        ({"where": "patient_id = 'P2'"}, {"build"}),
        ({"where": "state = 'dead' AND step = 'deliver' -- with a comment"}, {"to_dead"}),
        (
            {"where": "study_instance_uid LIKE '2.25.%' AND attempts = 3"},
            {"to_dead", "to_retrying", "build"},
        ),
        ({"where": "last_received_at < '2024-03-01 12:30:00'"}, {"to_dead", "to_retrying"}),
        ({"where": "1 = 0"}, set()),
    ],
)
def test_selection(staged: Database, wanted: dict[str, Any], due: set[str]) -> None:
    """Each filter finds what it says, a predicate of one's own included."""
    _replay(staged, **wanted)
    assert _due(staged) == due


def test_every_documented_column_can_be_asked(staged: Database) -> None:
    """A predicate may use each column that is documented."""
    for column in replay_columns():
        assert _replay(staged, dry_run=True, where=f"{column} IS NULL OR 1 = 1").deliveries == 2


@pytest.mark.parametrize(
    "predicate",
    [
        "1 = 1); DELETE FROM attempts; --",
        "no_such_column = 1",
        "1 = 1) UNION SELECT",
        "(SELECT 1 FROM",
    ],
)
def test_a_predicate_that_is_no_predicate(staged: Database, predicate: str) -> None:
    """Wrong SQL is refused and nothing is put back."""
    with pytest.raises(RefusedQuery):
        _replay(staged, where=predicate)
    assert _due(staged) == set()


def test_force_sends_again_what_is_there(staged: Database) -> None:
    """With force a delivered study is sent once more, whatever its content hash."""
    with staged.write() as connection:
        key = connection.execute(
            sa.select(t.deliveries.c.delivery_key).where(t.deliveries.c.state == DELIVERED)
        ).scalar_one()
        instance = connection.execute(sa.select(t.instances.c.instance_key).limit(1)).scalar_one()
        connection.execute(
            t.instance_deliveries.insert().values(
                delivery_key=key,
                instance_key=instance,
                status="0000",
                delivered=True,
                answered_at=START,
            )
        )
    assert _replay(staged, force=True, destination="to_delivered").deliveries == 1
    assert _due(staged) == {"to_delivered"}
    with staged.read() as connection:
        row = connection.execute(
            sa.select(t.deliveries).where(t.deliveries.c.delivery_key == key)
        ).one()
        assert (row.content_hash, row.server_id) == ("", "77")
        assert (
            connection.execute(sa.select(t.instance_deliveries.c.delivered)).scalar_one() is False
        )


def _claim(database: Database, step: str, destination: str, now: datetime) -> Any:
    with database.write() as connection:
        return work.claim(connection, step, destination, holder="w", now=now, lease_seconds=7_200)


def test_work_in_hand_is_left_alone(staged: Database) -> None:
    """What a worker holds at this moment is not touched."""
    claim = _claim(staged, DELIVER, "to_retrying", START + HOUR)
    done = _replay(staged, destination="to_retrying")
    assert (done.deliveries, done.left) == (0, {LEFT_ALONE["running"]: 1})
    with staged.write() as connection:
        work.finish(connection, claim, state=DELIVERED, now=START + HOUR)


def test_what_a_worker_takes_meanwhile_stays_its_own(staged: Database) -> None:
    """A row that is claimed between finding it and putting it back is not touched."""
    rows = ReplayQuery(staged, ReplayFilter(destination="to_retrying")).rows(["retrying"])
    claim = _claim(staged, DELIVER, "to_retrying", START + HOUR)
    with staged.write() as connection:
        assert put_back(connection, rows, again=False, now=START + HOUR) == []
        work.finish(connection, claim, state=DELIVERED, now=START + HOUR)


def _build_done(database: Database, now: datetime, *, again: bool) -> None:
    """Do what the end of a build does: ask for the generation at each destination."""
    claim = _claim(database, BUILD, "", now)
    assert claim.study_instance_uid == uid("all")
    wish = DeliveryWish(WAITING, again=again)
    with database.write() as connection:
        work.finish(connection, claim, state="done", now=now)
        for state in STATES:
            want_delivery(
                connection, claim.study_key, f"to_{state}", claim.want, wish=wish, now=now
            )


def test_rebuild_builds_first_and_delivers_after(staged: Database) -> None:
    """A rebuilt study is offered to its FHIR destinations only when the new build is there."""
    done = _replay(staged, rebuild=True, study_instance_uid=uid("all"))
    assert (done.studies, done.deliveries) == (1, 0)
    assert _due(staged) == {"build"}
    now = START + 2 * HOUR
    assert _claim(staged, DELIVER, "to_delivered", now) is None
    _build_done(staged, now, again=True)
    for state in STATES:
        claim = _claim(staged, DELIVER, f"to_{state}", now)
        assert claim is not None, state
        assert claim.want == 1


def test_rebuild_does_not_send_images_again(staged: Database) -> None:
    """An archive that has the images is not asked again; one that was left out now is."""
    _replay(staged, rebuild=True, study_instance_uid=uid("all"))
    now = START + 2 * HOUR
    _build_done(staged, now, again=False)
    assert _claim(staged, DELIVER, "to_delivered", now) is None
    assert _claim(staged, DELIVER, "to_filtered", now) is not None


def test_a_build_in_hand_is_dropped_by_rebuild(database: Database) -> None:
    """A build that runs with the old mapping cannot record its result."""
    with database.write() as connection:
        stage(connection, "one", build="waiting")
    old = _claim(database, BUILD, "", START + HOUR)
    _replay(database, rebuild=True)
    with pytest.raises(StaleClaim), database.write() as connection:
        work.finish(connection, old, state="done", now=START + HOUR)
    assert _claim(database, BUILD, "", START + 2 * HOUR) is not None


def test_rebuild_by_time_means_reception(staged: Database) -> None:
    """Since and until of a rebuild are about when the study came."""
    done = _replay(staged, rebuild=True, since=START + HOUR, by_reception=True)
    assert done.studies == 1


def test_a_study_that_has_not_settled_is_not_rebuilt(database: Database) -> None:
    """A study still coming in is built anyway."""
    with database.write() as connection:
        stage(connection, "one", generation=0, build=None, revision=2)
    done = _replay(database, rebuild=True)
    assert done.studies == 0
    assert sum(done.left.values()) == 1


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("meanwhile", [HELD, RUNNING])
def test_what_changed_after_it_was_found_stays_as_it_is(
    staged: Database, again: bool, meanwhile: str
) -> None:
    """A delivery that was held or begun between finding and writing is not put back."""
    d, now = t.deliveries.c, START + 2 * HOUR
    state = DELIVERED if again else DEAD
    rows = ReplayQuery(staged, ReplayFilter(step=DELIVER)).rows({state})
    with staged.write() as connection:
        changed = {"state": meanwhile, "updated_at": now}
        if meanwhile == RUNNING:
            changed |= {"lease_holder": "w", "lease_until": now + HOUR}
        connection.execute(sa.update(t.deliveries).where(d.state == state).values(changed))
        before = connection.execute(sa.select(t.deliveries).order_by(d.delivery_key)).all()
        assert len(rows) == 1
        assert put_back(connection, rows, again=again, now=now) == []
        after = connection.execute(sa.select(t.deliveries).order_by(d.delivery_key)).all()
    assert after == before
