"""What is wished for while a study is being delivered, or waits for its next try."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.holds import hold_study, release
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, holds
from intu_fhir.model.outcome import Dead, Delivered, Hold, Retry
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.work import (
    AGGREGATE,
    BUILD,
    DELIVER,
    FILTERED,
    HELD,
    WAITING,
    Claim,
    DeliveryWish,
    Finished,
    NotYet,
)
from intu_fhir.pipeline.runner import Lane, StepResult
from tests.support.clock import FakeClock
from tests.support.pipeline import PACS, Pipeline, due_at_pacs
from tests.support.staging import header, new_instance, store

TWO_PATIENTS = StudyHold("patient_conflict", "two patients")
LEFT_OUT = DeliveryWish(FILTERED, reason="the route leaves it out")

OUTCOMES: dict[str, Callable[[FakeClock], StepResult]] = {
    "delivered": lambda clock: Delivered("0000"),
    "retry": lambda clock: Retry("503", "busy"),
    "dead": lambda clock: Dead("422", "no"),
    "hold": lambda clock: Hold("patient_not_found", "no such patient"),
    "not yet": lambda clock: NotYet(clock.now()),
}


@pytest.fixture
def pipeline(database: Database, clock: FakeClock) -> Pipeline:
    """A pipeline whose study is due at its PACS."""
    return due_at_pacs(database, clock)


def _late_image(
    pipeline: Pipeline, wish: DeliveryWish, *conflicts: StudyHold, holder: str = "w2"
) -> None:
    """Let another image come, and the study settle and be built anew."""
    pipeline.clock.advance(1)
    store(pipeline.database, new_instance(pipeline.clock.now(), header(), quiet_seconds=0))

    def settle(claim: Claim) -> Finished:
        def record(connection: object) -> None:
            now = pipeline.clock.now()
            hold_study(connection, claim.study_key, conflicts, generation=2, now=now)  # type: ignore[arg-type]

        return Finished(record, 2)

    pipeline.does[AGGREGATE] = settle
    pipeline.does[BUILD] = lambda claim: Finished(lambda _: None, claim.want, {"pacs": wish})
    assert pipeline.runner(holder).run_one(Lane(AGGREGATE))
    assert pipeline.runner(holder).run_one(Lane(BUILD))


def _deliver_while(pipeline: Pipeline, meanwhile: Callable[[], None], outcome: StepResult) -> None:
    """Deliver what is due; something else happens before the outcome is known."""

    def deliver(claim: Claim) -> StepResult:
        meanwhile()
        return outcome

    pipeline.does[DELIVER] = deliver
    assert pipeline.runner().run_one(PACS)


def _release_all(pipeline: Pipeline) -> None:
    with pipeline.database.write() as connection:
        for hold in pipeline.rows(holds):
            if hold.released_at is None:
                release(connection, hold.hold_key, by="jo", now=pipeline.clock.now())


@pytest.mark.parametrize("again", [False, True], ids=["pacs", "fhir"])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_held_meanwhile(pipeline: Pipeline, outcome: str, again: bool) -> None:
    """A study that is held while it is sent goes nowhere until it is released, whatever came."""
    wish = DeliveryWish(WAITING, again=again)
    result = OUTCOMES[outcome](pipeline.clock)
    _deliver_while(pipeline, lambda: _late_image(pipeline, wish, TWO_PATIENTS), result)
    assert pipeline.sent_from_now_on() == []
    assert pipeline.row(deliveries).state == HELD
    assert [hold.reason for hold in pipeline.rows(holds)] == ["patient_conflict"]
    _release_all(pipeline)
    assert pipeline.sent_from_now_on() == [2]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_left_out_meanwhile(pipeline: Pipeline, outcome: str) -> None:
    """A study that a route leaves out while it is sent stays left out, and says why."""
    result = OUTCOMES[outcome](pipeline.clock)
    _deliver_while(pipeline, lambda: _late_image(pipeline, LEFT_OUT), result)
    row = pipeline.row(deliveries)
    assert (row.state, row.reason, row.due_at) == (FILTERED, LEFT_OUT.reason, None)
    assert pipeline.sent_from_now_on() == []


@pytest.mark.parametrize("again", [False, True], ids=["pacs", "fhir"])
def test_held_between_tries(pipeline: Pipeline, again: bool) -> None:
    """A study that waits for its next try is not tried once it is held."""
    _deliver_while(pipeline, lambda: None, Retry("503", "busy"))
    _late_image(pipeline, DeliveryWish(WAITING, again=again), TWO_PATIENTS)
    assert pipeline.sent_from_now_on() == []
    _release_all(pipeline)
    assert pipeline.sent_from_now_on() == [2]


def test_left_out_between_tries(pipeline: Pipeline) -> None:
    """A study that waits for its next try is not tried once a route leaves it out."""
    _deliver_while(pipeline, lambda: None, Retry("503", "busy"))
    _late_image(pipeline, LEFT_OUT)
    assert pipeline.row(deliveries).state == FILTERED
    assert pipeline.sent_from_now_on() == []


@pytest.mark.parametrize("outcome", ["dead", "hold"])
def test_newer_wish_is_tried_for_itself(pipeline: Pipeline, outcome: str) -> None:
    """What an older generation met neither gives the newer one up nor holds it."""
    wish = DeliveryWish(WAITING)
    result = OUTCOMES[outcome](pipeline.clock)
    _deliver_while(pipeline, lambda: _late_image(pipeline, wish), result)
    row = pipeline.row(deliveries)
    assert (row.state, row.want, row.attempts, row.last_error) == (WAITING, 2, 0, "")
    assert pipeline.rows(holds) == []
    assert pipeline.sent_from_now_on() == [2]


def test_released_while_it_is_still_being_sent(pipeline: Pipeline) -> None:
    """A hold that comes and goes while the older generation is sent lets the newer one follow."""

    def held_and_released() -> None:
        _late_image(pipeline, DeliveryWish(WAITING), TWO_PATIENTS)
        _release_all(pipeline)

    _deliver_while(pipeline, held_and_released, Delivered("0000"))
    assert pipeline.sent_from_now_on() == [2]


def test_worker_dies_on_what_is_held_meanwhile(pipeline: Pipeline) -> None:
    """After the worker of a study that is held by now has died, the study waits for its release."""

    def die() -> None:
        _late_image(pipeline, DeliveryWish(WAITING), TWO_PATIENTS)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _deliver_while(pipeline, die, Delivered("0000"))
    assert pipeline.sent_from_now_on() == []
    _release_all(pipeline)
    assert pipeline.sent_from_now_on() == [2]


def test_built_again_meanwhile_by_a_clock_that_was_set_back(pipeline: Pipeline) -> None:
    """What was built anew while the older content was sent goes out, whatever the clock shows."""

    def build_again() -> None:
        pipeline.clock.step_wall(-3_600)
        wish = DeliveryWish(WAITING, again=True)
        with pipeline.database.write() as connection:
            key, now = pipeline.row(deliveries).study_key, pipeline.clock.now()
            want_delivery(connection, key, "pacs", 1, wish=wish, now=now)

    _deliver_while(pipeline, build_again, Delivered("200"))
    assert pipeline.sent_from_now_on() == [1]
