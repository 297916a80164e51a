"""How threads of this process end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import cast

import pytest

from intu_fhir.engines.local import Chore, LocalEngine
from intu_fhir.pipeline.runner import Runner


class Guard:
    """The part of a runner that chores need."""

    def guard(self, _what: str, do_some: Callable[[], bool]) -> bool:
        """Do some work."""
        return do_some()


@pytest.mark.timed
def test_the_grace_is_for_all_threads_together() -> None:
    """Five that hang delay the end no longer than one does, and each of them is named."""
    may_end, begun = threading.Event(), threading.Barrier(6)

    def hang() -> int:
        begun.wait(10)
        may_end.wait(60)
        return 0

    chores = [Chore(f"hangs-{number}", hang, then="") for number in range(5)]
    engine = LocalEngine(cast(Runner, Guard()), [], chores)
    engine.start()
    try:
        begun.wait(10)
        before = time.monotonic()
        left = engine.stop(0.5)
        took = time.monotonic() - before
    finally:
        may_end.set()
    assert left == [chore.name for chore in chores]
    assert 0.5 <= took < 1.0
    assert engine.stop(10) == []


def test_one_that_was_not_started_stops_at_once() -> None:
    """A site whose start fails before its engine's stops all the same, and says why it failed."""
    chore = Chore("idle", lambda: 0, then="")
    assert LocalEngine(cast(Runner, Guard()), [], [chore]).stop(0.0) == []
