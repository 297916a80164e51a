"""P-04 in small: ``python -m tests.reliability.bad_neighbours`` runs it at length."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.reliability.bad_neighbours import POISONED, Street, live_among
from tests.reliability.ground import ground
from tests.support.live import p99
from tests.support.queue_mutants import ANY_PLACE

SMALL = Street(seconds=4.0, every=0.1, timeout=6.0)
_BUSY_MACHINE_SECONDS = 2.0
"""What nobody calls slow where others use the machine, too; a hung try takes three times that."""


@pytest.mark.slow
@pytest.mark.timed
def test_bad_neighbours_cost_the_others_nothing() -> None:
    """A PACS that is dead and objects on which one hangs leave the others' delay as it is."""
    with ground("sqlite") as place:
        cost = live_among(place, SMALL)
    assert cost.hung > 0
    slowest = max(p99(delays) for delays in cost.after.values())
    assert cost.factor() < 2 or slowest < _BUSY_MACHINE_SECONDS, cost.line()


@pytest.mark.slow
@pytest.mark.timed
def test_poison_that_may_take_every_place_is_seen() -> None:
    """Where what failed before may take the last place, others wait for its time-out."""
    with ground("postgresql") as place:
        street = replace(SMALL, seconds=4.0, every=0.25, timeout=3.0, mutant=ANY_PLACE)
        cost = live_among(place, street)
    assert p99(cost.after[POISONED]) > _BUSY_MACHINE_SECONDS, cost.line()
