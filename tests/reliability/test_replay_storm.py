"""P-06 in small: ``python -m tests.reliability.replay_storm`` runs it at length."""

from __future__ import annotations

from statistics import median

import pytest

from tests.reliability.ground import ground
from tests.reliability.replay_storm import Storm, weather
from tests.support.databases import KINDS
from tests.support.live import p99
from tests.support.queue_mutants import BACKLOG_FIRST

_BUSY_MACHINE_SECONDS = 1.5


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("kind", KINDS)
def test_a_replay_costs_new_studies_little(kind: str) -> None:
    """While dead letters drain, new studies arrive as soon as before, and nothing twice."""
    with ground(kind) as place:
        cost = weather(place, Storm(dead=120, seconds=4.0, every=0.1))
    assert cost.put_back == 120
    assert not cost.wrong
    assert cost.factor() < 2 or p99(cost.during) < _BUSY_MACHINE_SECONDS, cost.line()


@pytest.mark.slow
def test_a_replay_that_goes_first_is_seen() -> None:
    """Where backlog goes first and to the last place, new studies wait for the end of it."""
    with ground("postgresql") as place:
        cost = weather(place, Storm(dead=200, seconds=4.0, every=0.1, mutant=BACKLOG_FIRST))
    assert median(cost.during) > 2 * median(cost.before), cost.line()
