"""When a destination counts as down, and how it comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from intu_fhir.model.destination import CLOSED, HALF_OPEN, OPEN, BreakerState, Gate
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Hold, Retry
from intu_fhir.pipeline.breaker import (
    after_answer,
    after_nothing,
    after_silence,
    is_silence,
    tells_nothing,
)
from intu_fhir.settings.schema import BreakerSettings
from tests.support.clock import START

POLICY = BreakerSettings(failures=3, first_seconds=10, max_seconds=40)


def _silent(
    times: int, state: BreakerState | None = None, asked: float | None = None
) -> BreakerState:
    found = state or BreakerState()
    for _ in range(times):
        found = after_silence(found, POLICY, "no answer", START, 1.0, asked)
    return found


def test_it_opens_after_as_many_silences_as_configured() -> None:
    """Two silences of three change nothing; the third one opens the breaker."""
    assert _silent(2).breaker == CLOSED
    opened = _silent(3)
    assert (opened.breaker, opened.opened_at) == (OPEN, START)
    assert opened.next_probe_at == START + timedelta(seconds=10)


def test_an_answer_in_between_starts_the_count_anew() -> None:
    """Silences count only in a row."""
    assert _silent(2, after_answer(_silent(2), 4)).breaker == CLOSED


@pytest.mark.parametrize(("probes", "seconds"), [(0, 10), (1, 20), (2, 40), (9, 40)])
def test_the_wait_for_a_probe_doubles_up_to_its_limit(probes: int, seconds: float) -> None:
    """Each probe that is not answered doubles the wait for the next."""
    state = BreakerState(OPEN, silences=3, probes=probes)
    after = after_silence(state, POLICY, "", START, 1.0)
    assert after.next_probe_at == START + timedelta(seconds=seconds)


def test_half_of_the_wait_is_chance() -> None:
    """Without luck a probe goes out after half of the wait."""
    after = after_silence(BreakerState(OPEN), POLICY, "", START, 0.0)
    assert after.next_probe_at == START + timedelta(seconds=5)


@pytest.mark.parametrize(("asked", "seconds"), [(30.0, 30), (4_000.0, 40)])
def test_the_peer_may_ask_for_more_time(asked: float, seconds: float) -> None:
    """Retry-After lengthens the wait, up to the longest one that is configured."""
    assert _silent(3, asked=asked).next_probe_at == START + timedelta(seconds=seconds)


def test_a_destination_that_answers_again_gets_one_more_with_each_answer() -> None:
    """After the probe one study is on its way, then two, until the limit: then it is well."""
    state, seen = _silent(3), []
    for _ in range(4):
        state = after_answer(state, 3)
        seen.append((state.breaker, state.allowed))
    assert seen == [(HALF_OPEN, 1), (HALF_OPEN, 2), (HALF_OPEN, 3), (CLOSED, None)]


def test_silence_while_it_recovers_opens_it_again_at_once() -> None:
    """Half open is not closed: one silence is enough."""
    again = _silent(1, after_answer(_silent(3), 3))
    assert (again.breaker, again.allowed) == (OPEN, None)


def test_a_probe_that_asked_nobody_leaves_its_place_to_the_next() -> None:
    """It neither delays the next probe nor makes the wait after that one longer."""
    down = replace(_silent(3), probes=2, next_probe_at=START + timedelta(seconds=60))
    again = after_nothing(down, START)
    assert (again.breaker, again.next_probe_at, again.probes) == (OPEN, START, 1)
    assert after_nothing(replace(again, probes=0), START).probes == 0
    assert after_nothing(BreakerState(), START) == BreakerState()


@pytest.mark.parametrize(
    ("outcome", "nothing"),
    [
        (Hold("x", "y"), True),
        (Delivered(unchanged=True), True),
        (Delivered(), False),
        (Retry(detail="no answer", silent=True), False),
        (Dead("HTTP 422", "refused"), False),
        (Dead(detail="our own fault"), True),
    ],
)
def test_only_what_was_asked_tells_whether_it_answers(
    outcome: DeliveryOutcome, nothing: bool
) -> None:
    """A study that was never sent says nothing of its destination."""
    assert tells_nothing(outcome) is nothing


def test_a_refusal_is_no_silence() -> None:
    """Who refuses a study has answered."""
    assert not is_silence(Retry("HTTP 503", "busy"))
    assert is_silence(Retry(detail="no answer", silent=True))


def test_a_gate_gives_the_latest_of_its_reasons_to_wait() -> None:
    """Rate limit and probe both have to allow it; pausing needs a person."""
    later = START + timedelta(seconds=9)
    gate = Gate(state=BreakerState(OPEN, next_probe_at=later), free_at=START)
    assert gate.opens_at(START) == later
    assert Gate(paused=True).opens_at(START) is None
    assert Gate(state=BreakerState(OPEN)).limit(8) == 1
    assert Gate(state=BreakerState(HALF_OPEN, allowed=2)).limit(8) == 2
