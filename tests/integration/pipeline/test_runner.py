"""What the one loop body makes of each result, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from intu_fhir.db import work
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.holds import hold_study, release
from intu_fhir.db.session import Database
from intu_fhir.db.studies import request_settling
from intu_fhir.db.tables import attempts, deliveries, holds, studies
from intu_fhir.db.tables import work as work_table
from intu_fhir.errors import PermanentError, TransientError
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Hold, Retry
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.work import (
    AGGREGATE,
    BUILD,
    DELIVER,
    WAITING,
    Claim,
    DeliveryWish,
    Finished,
    NotYet,
)
from intu_fhir.pipeline.runner import Lane, StepResult
from tests.support.clock import FakeClock
from tests.support.pipeline import PACS, Pipeline
from tests.support.rows import row_waiters
from tests.support.staging import header, new_instance, store
from tests.support.waiting import wait_until


@pytest.fixture
def pipeline(database: Database, clock: FakeClock) -> Pipeline:
    """A pipeline with one study that is due."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    return Pipeline(database, clock)


def test_a_study_goes_through_all_steps_once(pipeline: Pipeline) -> None:
    """Aggregation asks for the build, the build for the delivery, and then nothing is due."""
    pipeline.bring_to_delivery()
    pipeline.does[DELIVER] = lambda claim: Delivered("0000", content_hash="abc")
    assert pipeline.runner().run_one(PACS)
    row = pipeline.row(deliveries)
    assert (row.state, row.have, row.due_at, row.content_hash) == ("delivered", 1, None, "abc")
    assert row.delivered_at == pipeline.clock.now()
    assert not any(pipeline.runner().run_one(lane) for lane in (Lane(AGGREGATE), Lane(BUILD), PACS))


def test_nothing_is_recorded_of_a_step_that_is_too_early(pipeline: Pipeline) -> None:
    """NotYet gives the study back until the time it names."""
    later = pipeline.clock.now() + timedelta(seconds=7)
    pipeline.does[AGGREGATE] = lambda claim: NotYet(later)
    assert pipeline.runner().run_one(Lane(AGGREGATE))
    assert not pipeline.runner().run_one(Lane(AGGREGATE))
    assert pipeline.runner().seconds_until_due(Lane(AGGREGATE)) == 7


def test_a_delivery_is_retried_with_backoff_then_dead(pipeline: Pipeline) -> None:
    """Three failures, ten and twenty seconds apart, end in a dead letter with every try kept."""
    pipeline.bring_to_delivery()
    pipeline.does[DELIVER] = lambda claim: Retry("503", "the server is busy")
    waits = []
    while pipeline.row(deliveries).state != "dead":
        wait = pipeline.runner().seconds_until_due(PACS)
        assert wait is not None
        waits.append(wait)
        pipeline.clock.advance(wait)
        assert pipeline.runner().run_one(PACS)
    assert waits == [0, 10, 20]
    row = pipeline.row(deliveries)
    error = "the server is busy; given up after 3 tries"
    assert (row.attempts, row.last_error, row.due_at) == (3, error, None)
    assert [(a.number, a.outcome) for a in pipeline.rows(attempts)] == [
        (1, "retrying"),
        (2, "retrying"),
        (3, "retrying"),
    ]


_REFUSED = ("work_needs_person", "the server refuses the content")

ERRORS = [
    (TransientError("the peer is away"), "retrying", "the peer is away"),
    (PermanentError("the peer refuses"), "dead", "the peer refuses"),
    (KeyError("DOE^JOHN"), "retrying", "KeyError"),
]


@pytest.mark.parametrize(("error", "state", "text"), ERRORS)
def test_an_error_of_a_step_is_recorded_without_patient_data(
    pipeline: Pipeline, error: Exception, state: str, text: str
) -> None:
    """Our own errors tell their remedy; an unexpected one its type and place, never its text."""

    def fail(claim: Claim) -> StepResult:
        raise error

    pipeline.bring_to_delivery()
    pipeline.does[DELIVER] = fail
    assert pipeline.runner().run_one(PACS)
    row = pipeline.row(deliveries)
    assert row.state == state
    assert text in row.last_error
    assert "DOE" not in row.last_error


@pytest.mark.parametrize(
    ("outcome", "event", "reason"),
    [
        (Retry("503", "the server is busy (DOE^JOHN)"), "work_done", "the server is busy"),
        (Dead("422", "the server refuses the content ('DOE')"), *_REFUSED),
        (Hold("patient_not_found", "no patient DOE"), "work_needs_person", "patient_not_found"),
        (Delivered("201", detail="DOE"), "work_done", ""),
    ],
)
def test_the_log_says_why_a_step_failed(
    pipeline: Pipeline, outcome: DeliveryOutcome, event: str, reason: str
) -> None:
    """One line has the cause in our own words, and nothing that the far side said."""
    pipeline.bring_to_delivery()
    pipeline.does[DELIVER] = lambda claim: outcome
    with capture_logs() as logs:
        assert pipeline.runner().run_one(PACS)
    (told,) = (one for one in logs if one["event"] == event)
    assert told["reason"] == reason
    assert "DOE" not in str(logs)


def test_a_held_delivery_waits_for_a_person(pipeline: Pipeline) -> None:
    """Hold makes an open hold; its release makes the delivery due at once."""
    pipeline.bring_to_delivery()
    pipeline.does[DELIVER] = lambda claim: Hold("patient_not_found", "no patient matches")
    assert pipeline.runner().run_one(PACS)
    hold = pipeline.row(holds)
    assert (hold.reason, hold.destination, hold.released_at) == ("patient_not_found", "pacs", None)
    assert not pipeline.runner().run_one(PACS)
    with pipeline.database.write() as connection:
        assert release(connection, hold.hold_key, by="jo", now=pipeline.clock.now())
    pipeline.does[DELIVER] = lambda claim: Delivered("201")
    assert pipeline.runner().run_one(PACS)
    assert pipeline.row(deliveries).state == "delivered"


def test_a_held_study_is_delivered_after_its_last_hold(pipeline: Pipeline) -> None:
    """Two holds keep a study back until both are released."""
    reasons = [StudyHold("patient_conflict", "two patients"), StudyHold("other", "why")]
    with pipeline.database.write() as connection:
        hold_study(connection, 1, reasons, generation=1, now=pipeline.clock.now())
    pipeline.bring_to_delivery()
    for number, hold in enumerate(pipeline.rows(holds)):
        assert pipeline.runner().seconds_until_due(PACS) is None, number
        with pipeline.database.write() as connection:
            release(connection, hold.hold_key, by="jo", now=pipeline.clock.now())
    assert pipeline.runner().seconds_until_due(PACS) == 0


def test_a_worker_that_lost_its_lease_writes_nothing(pipeline: Pipeline) -> None:
    """A slow worker's result is dropped once another worker has taken the study over."""
    pipeline.bring_to_delivery()

    def slow(claim: Claim) -> StepResult:
        pipeline.clock.advance(61)
        pipeline.does[DELIVER] = lambda claim: Delivered("fast")
        assert pipeline.runner("w2").run_one(PACS)
        return Dead("slow", "too late")

    pipeline.does[DELIVER] = slow
    pipeline.runner("w1").run_one(PACS)
    row = pipeline.row(deliveries)
    assert (row.state, row.last_status) == ("delivered", "fast")
    assert [attempt.status for attempt in pipeline.rows(attempts)] == ["fast"]


def test_work_that_kills_its_worker_ends_as_a_dead_letter(pipeline: Pipeline) -> None:
    """A study on which workers die is given up after as many leases as attempts."""
    pipeline.bring_to_delivery()
    for number in range(3):
        with pipeline.database.write() as connection:
            assert work.claim(
                connection,
                DELIVER,
                "pacs",
                holder=f"dies{number}",
                now=pipeline.clock.now(),
                lease_seconds=60,
            )
        pipeline.clock.advance(61)
    pipeline.does[DELIVER] = lambda claim: Delivered("never")
    assert pipeline.runner().run_one(PACS)
    assert pipeline.row(deliveries).state == "dead"


def test_a_late_instance_brings_a_new_generation_to_every_destination(pipeline: Pipeline) -> None:
    """After delivery, new content goes through all steps again as the next generation."""
    pipeline.bring_to_delivery()
    pipeline.does[DELIVER] = lambda claim: Delivered("0000")
    pipeline.runner().run_one(PACS)
    store(pipeline.database, new_instance(pipeline.clock.now(), header(), quiet_seconds=0))
    pipeline.does[AGGREGATE] = lambda claim: Finished(lambda connection: None, 2)
    pipeline.runner().run_one(Lane(AGGREGATE))
    pipeline.runner().run_one(Lane(BUILD))
    assert pipeline.runner().run_one(PACS)
    row = pipeline.row(deliveries)
    assert (row.want, row.have, row.state) == (2, 2, "delivered")
    assert [r.state for r in pipeline.rows(work_table)] == ["done", "done"]


def test_a_hold_released_while_the_study_is_built_keeps_nothing_back(pipeline: Pipeline) -> None:
    """A release between settling and building is not lost: the delivery is due."""
    with pipeline.database.write() as connection:
        hold = [StudyHold("patient_conflict", "two patients")]
        hold_study(connection, 1, hold, generation=1, now=pipeline.clock.now())

    def build(claim: Claim) -> StepResult:
        with pipeline.database.write() as connection:
            release(connection, 1, by="jo", now=pipeline.clock.now())
        return Finished(lambda connection: None, 1, {"pacs": DeliveryWish(WAITING)})

    pipeline.does[AGGREGATE] = lambda claim: Finished(lambda connection: None, 1)
    pipeline.does[BUILD] = build
    pipeline.runner().run_one(Lane(AGGREGATE))
    pipeline.runner().run_one(Lane(BUILD))
    assert pipeline.runner().seconds_until_due(PACS) == 0


def test_what_is_built_anew_during_a_delivery_is_delivered_next(pipeline: Pipeline) -> None:
    """A rebuild of the generation that is being sent just then makes it due once more."""
    pipeline.bring_to_delivery()

    def rebuilt_meanwhile(claim: Claim) -> StepResult:
        pipeline.clock.advance(1)
        with pipeline.database.write() as connection:
            wish = DeliveryWish(WAITING, again=True)
            want_delivery(
                connection, claim.study_key, "pacs", claim.want, wish=wish, now=pipeline.clock.now()
            )
        return Delivered("old")

    pipeline.does[DELIVER] = rebuilt_meanwhile
    assert pipeline.runner().run_one(PACS)
    pipeline.does[DELIVER] = lambda claim: Delivered("new")
    assert pipeline.runner().run_one(PACS)
    assert pipeline.row(deliveries).last_status == "new"


def test_a_result_that_the_database_undid_is_written_once_more(pipeline: Pipeline) -> None:
    """What was delivered is known although PostgreSQL ended the transaction that was to say so."""
    if pipeline.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    pipeline.bring_to_delivery()
    begun, goes_on = threading.Event(), threading.Event()

    def deliver(claim: Claim) -> DeliveryOutcome:
        begun.set()
        assert goes_on.wait(60)
        return Delivered("0000")

    pipeline.does[DELIVER] = deliver
    delivering = threading.Thread(target=lambda: pipeline.runner().run_one(PACS))
    delivering.start()
    assert begun.wait(60)
    with pipeline.database.write() as other:
        other.exec_driver_sql("SET LOCAL deadlock_timeout = '30s'")  # let it not be this one
        other.execute(sa.select(deliveries).with_for_update())
        goes_on.set()
        wait_until(lambda: row_waiters(pipeline.database) > 0)
        other.execute(sa.select(studies).with_for_update())
    delivering.join(60)
    assert pipeline.row(deliveries).state == "delivered"


def test_a_study_that_failed_is_settled_when_a_person_asks(pipeline: Pipeline) -> None:
    """Settling a study on request is tried in earnest, though all tries of it were used up."""

    def fail(claim: Claim) -> StepResult:
        raise TransientError("not now")

    pipeline.does[AGGREGATE] = fail
    while pipeline.row(work_table).state != "dead":
        pipeline.clock.advance(1_000)
        assert pipeline.runner().run_one(Lane(AGGREGATE))
    pipeline.does[AGGREGATE] = lambda claim: Finished(lambda connection: None, 1)
    with pipeline.database.write() as connection:
        assert request_settling(connection, "1.2.3", by="jo", now=pipeline.clock.now())
    assert pipeline.runner().run_one(Lane(AGGREGATE))
    [settled, _] = pipeline.rows(work_table)
    assert (settled.state, settled.last_error) == ("done", "")
