"""K-06 in small: ``python -m tests.reliability.outages`` runs it at length."""

from __future__ import annotations

import pytest

from tests.reliability.ground import ground
from tests.reliability.outages import OUTAGES, suffer
from tests.support import mutants
from tests.support.receivers import Receivers


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_of_the_database_costs_a700_and_nothing_else(
    receivers: Receivers, name: str
) -> None:
    """Objects are answered 0000 or A700, echoes at once, and all goes on when it is back."""
    kind, outage = OUTAGES[name]
    with ground(kind) as place:
        seen = suffer(receivers, place, outage, seconds=3.0, wait_seconds=1.0)
    assert not seen.is_bad(), seen.line()
    assert seen.answers["A700"] > 0


@pytest.mark.slow
def test_a_receiver_that_hopes_for_the_best_is_seen(receivers: Receivers) -> None:
    """K-06 can fail: one that answers Success while its database is away has lost objects."""
    kind, outage = OUTAGES["locked"]
    with ground(kind) as place:
        how = {"seconds": 2.0, "wait_seconds": 0.5}
        seen = suffer(receivers, place, outage, **how, mutant=mutants.HOPEFUL)
    assert seen.broken, seen.line()
