"""D-06 in small: ``python -m tests.reliability.worker_kills`` runs it at length."""

from __future__ import annotations

import pytest

from tests.reliability.ground import ground
from tests.reliability.worker_kills import prepared
from tests.reliability.worker_promises import Plan
from tests.support.queue_mutants import NO_LIMIT

# pynetdicom, as the PACS, leaves sockets of killed senders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_workers_lose_and_double_nothing(kind: str) -> None:
    """Workers die and start at any moment: everything is there once, in order, within limits."""
    plan = Plan(studies=40, late=20, workers=4, every=12, lease=5.0, slack=30)
    with ground(kind) as place, prepared(plan, place) as run:
        found = run.do()
    assert found.kills > 0
    assert not found.is_bad(plan), found.line()


@pytest.mark.slow
def test_workers_that_freeze_lose_and_double_nothing() -> None:
    """Who wakes up after its lease has ended finds its work in other hands, and leaves it there."""
    plan = Plan(studies=30, late=10, workers=4, every=8, lease=4.0, freeze=True, slack=30)
    with ground("postgresql") as place, prepared(plan, place) as run:
        found = run.do()
    assert found.freezes > 0
    assert not found.is_bad(plan), found.line()


@pytest.mark.slow
def test_a_queue_that_counts_nobody_is_caught() -> None:
    """More studies on their way than the limit allows are seen where they arrive."""
    plan = Plan(studies=30, late=0, workers=4, every=1_000, delay=0.5, mutant=NO_LIMIT)
    with ground("postgresql") as place, prepared(plan, place) as run:
        found = run.do()
    assert found.above
