"""K-02 in small: ``python -m tests.reliability.random_kills`` runs it at length."""

from __future__ import annotations

import pytest

from tests.reliability.ground import ground
from tests.reliability.random_kills import Tally, kill_often
from tests.support.receivers import Receivers


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_kills_at_random_moments_lose_nothing(
    receivers: Receivers, database_kind: str, processes: int
) -> None:
    """Killed again and again under four senders, staging holds all that was answered Success.

    Of two receivers on one port one is killed, and recovers while the other one receives.
    """
    tally = Tally()
    with ground(database_kind) as place:
        order = place.order()
        how = {"kills": 8, "senders": 4, "seed": 7, "processes": processes}
        for tally in kill_often(receivers, order, **how):
            assert not tally.broken
    assert tally.acknowledged > 8


@pytest.mark.parametrize("mutant", ["row-first", "no-rename"])
def test_random_kills_catch_the_wrong_order(receivers: Receivers, mutant: str) -> None:
    """Recovery after a kill shows rows without their files where the order is wrong."""
    with ground("sqlite") as place:
        runs = kill_often(receivers, place.order(mutant), kills=40, senders=4, seed=7)
        assert any(tally.broken for tally in runs)
