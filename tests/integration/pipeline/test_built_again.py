"""What becomes of a delivery whose study is built again with another result."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from intu_fhir.db.holds import hold_study, release
from intu_fhir.db.replay import build_again
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, holds
from intu_fhir.model.outcome import Dead, Delivered, Hold, Retry
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.work import (
    BUILD,
    DELIVER,
    DELIVERED,
    FILTERED,
    HELD,
    WAITING,
    DeliveryWish,
    Finished,
)
from intu_fhir.pipeline.runner import Lane, StepResult
from tests.support.clock import FakeClock
from tests.support.pipeline import PACS, Pipeline
from tests.support.staging import header, new_instance, store

LEFT_OUT = DeliveryWish(FILTERED, reason="the route leaves it out")
WRONG = DeliveryWish(HELD, again=True, hold=StudyHold("invalid_resource", "it has errors"))
RIGHT = DeliveryWish(WAITING, again=True)


@pytest.fixture
def pipeline(database: Database, clock: FakeClock) -> Pipeline:
    """A pipeline with a study that has settled once it is asked to."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    return Pipeline(database, clock)


def _build_again(pipeline: Pipeline, wish: DeliveryWish) -> None:
    """Have the study built once more, now with another wish for its destination."""
    now = pipeline.clock.now()
    with pipeline.database.write() as connection:
        build_again(connection, [1], now=now)
    pipeline.does[BUILD] = lambda claim: Finished(lambda _: None, claim.want, {"pacs": wish})
    assert pipeline.runner().run_one(Lane(BUILD))


def _try(pipeline: Pipeline, outcome: StepResult) -> None:
    pipeline.does[DELIVER] = lambda claim: outcome
    assert pipeline.runner().run_one(PACS)


BEFORE: dict[str, Callable[[Pipeline], None]] = {
    "waiting": lambda pipeline: None,
    "retrying": lambda pipeline: _try(pipeline, Retry("503", "busy")),
    "dead": lambda pipeline: _try(pipeline, Dead("422", "no")),
    "held": lambda pipeline: _try(pipeline, Hold("invalid_resource", "it has errors")),
}


@pytest.mark.parametrize("before", BEFORE)
def test_what_is_left_out_by_now_goes_nowhere(pipeline: Pipeline, before: str) -> None:
    """A study that its destination has not got yet is left out as soon as it is built so."""
    pipeline.bring_to_delivery()
    BEFORE[before](pipeline)
    _build_again(pipeline, LEFT_OUT)
    row = pipeline.row(deliveries)
    assert (row.state, row.reason, row.due_at) == (FILTERED, LEFT_OUT.reason, None)
    assert [hold for hold in pipeline.rows(holds) if hold.released_at is None] == []
    assert pipeline.sent_from_now_on() == []


def test_what_a_destination_has_stays_there(pipeline: Pipeline) -> None:
    """A study that was delivered counts as delivered, though it would be left out by now."""
    pipeline.bring_to_delivery()
    _try(pipeline, Delivered("0000"))
    _build_again(pipeline, LEFT_OUT)
    row = pipeline.row(deliveries)
    assert (row.state, row.reason) == (DELIVERED, "")


def test_a_mended_study_is_held_for_its_patients_alone(pipeline: Pipeline) -> None:
    """A study that was mended while it was held for another reason goes out at its release."""
    pipeline.bring_to_delivery(WRONG)
    now = pipeline.clock.now()
    with pipeline.database.write() as connection:
        two = StudyHold("patient_conflict", "two patients")
        hold_study(connection, 1, [two], generation=1, now=now)
    _build_again(pipeline, RIGHT)
    [still] = [hold for hold in pipeline.rows(holds) if hold.released_at is None]
    assert still.reason == "patient_conflict"
    assert pipeline.sent_from_now_on() == []
    with pipeline.database.write() as connection:
        release(connection, still.hold_key, by="jo", now=now)
    assert pipeline.sent_from_now_on() == [1]
