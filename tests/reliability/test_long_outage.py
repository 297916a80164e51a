"""H-05 in small: ``python -m tests.reliability.long_outage`` runs it at length."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.reliability.ground import ground
from tests.reliability.long_outage import Outage, suffer
from tests.support.databases import KINDS
from tests.support.queue_mutants import NO_RAMP

SMALL = Outage(studies=40, workers=2, delay=0.1, patience=100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_ehr_that_comes_back_is_not_overrun(kind: str) -> None:
    """After eight hours all that waited arrives, in order, and no faster than it is answered."""
    with ground(kind) as place:
        seen = suffer(place, SMALL)
    assert not seen.is_bad(SMALL), seen.line(SMALL)
    assert seen.probes > 50


@pytest.mark.slow
def test_a_stampede_is_seen() -> None:
    """Without a slow start the server meets more than it has answered."""
    with ground("postgresql") as place:
        seen = suffer(place, replace(SMALL, studies=24, delay=0.8, mutant=NO_RAMP))
    assert seen.stampede
