"""A place where studies queue, against what queueing theory says."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.sizing.station import Closed, serve

TIMES = st.lists(st.floats(0, 1_000), min_size=1, max_size=60)


def test_below_its_capacity_nobody_waits() -> None:
    """One that comes each second and needs half of one finds the place free."""
    served = serve([float(n) for n in range(100)], [0.5] * 100, 1)
    assert served.waited == [0.0] * 100
    assert served.longest_queue == 0
    assert served.busy == 50


def test_above_its_capacity_the_queue_grows_evenly() -> None:
    """Each one that needs two seconds and comes every second waits one more than the last."""
    served = serve([float(n) for n in range(100)], [2.0] * 100, 1)
    assert served.waited == [float(n) for n in range(100)]


@pytest.mark.parametrize(("busy", "places"), [(0.5, 1), (0.8, 1), (0.9, 1)])
def test_by_chance_they_wait_as_long_as_theory_says(busy: float, places: int) -> None:
    """The mean wait of M/M/1 is rho / (mu - lambda)."""
    chance, now, ready = random.Random(7), 0.0, []
    for _ in range(200_000):
        now += chance.expovariate(busy)
        ready.append(now)
    needs = [chance.expovariate(1.0) for _ in ready]
    waited = statistics.fmean(serve(ready, needs, places).waited)
    assert waited == pytest.approx(busy / (1 - busy), rel=0.1)


def test_after_an_outage_the_queue_drains_at_what_is_left_of_the_capacity() -> None:
    """A hundred seconds closed, half of the capacity to spare: done in a hundred more."""
    ready = [float(n) for n in range(400)]
    served = serve(ready, [0.5] * 400, 1, Closed(100, 200))
    assert max(served.waited) == 100
    assert served.waited[100] == 100
    assert served.waited[299] > 0
    assert served.waited[301:] == [0.0] * 99


@given(TIMES, st.integers(1, 5), st.randoms())
def test_nothing_is_lost_and_no_place_serves_two(
    ready: list[float], places: int, chance: random.Random
) -> None:
    """Nobody begins before coming, and never more are served than there are places."""
    needs = [chance.random() * 10 for _ in ready]
    served = serve(ready, needs, places)
    begun = [done - need for done, need in zip(served.done, needs, strict=True)]
    assert all(wait >= 0 for wait in served.waited)
    assert served.busy == pytest.approx(sum(needs))
    for begin in begun:
        inside = sum(
            one <= begin + 1e-9 and begin + 1e-9 < done
            for one, done in zip(begun, served.done, strict=True)
        )
        assert inside <= places
