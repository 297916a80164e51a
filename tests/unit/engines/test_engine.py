"""An engine that works for a time, as a task does."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest

from intu_fhir.engines.engine import EVERYTHING, Engine, Share, run_for


@dataclass
class Steady:
    """An engine whose only worker never ends within a grace."""

    graces: list[float] = field(default_factory=list)
    started: bool = False

    def start(self) -> None:
        """Begin."""
        self.started = True

    def wake(self, signal: str) -> None:
        """Look at once."""

    def stop(self, grace_seconds: float) -> list[str]:
        """Say that the worker is still at it."""
        self.graces.append(grace_seconds)
        return ["worker-1"]


def _run(engine: Engine, seconds: float, stop: threading.Event) -> list[str]:
    return run_for(engine, seconds, stop, grace_seconds=600, hurried_seconds=4)


def test_it_works_for_its_time_and_then_finishes() -> None:
    """At the end of the time it has the whole grace, and who is not ready is named."""
    engine = Steady()
    assert _run(engine, 0.05, threading.Event()) == ["worker-1"]
    assert engine.started
    assert engine.graces == [600]


def test_it_hurries_when_it_is_told_to_stop() -> None:
    """The time is not waited for, and the grace is what is left before it is killed."""
    engine, stop = Steady(), threading.Event()
    stop.set()
    begun = time.monotonic()
    _run(engine, 60, stop)
    assert time.monotonic() - begun < 10
    assert engine.graces == [4]


@pytest.mark.parametrize(
    ("share", "serves"),
    [(EVERYTHING, True), (Share(destinations={"ehr"}), True), (Share(destinations=()), False)],
)
def test_a_share_serves_whom_it_names(share: Share, serves: bool) -> None:
    """None named means all; an empty list means nobody."""
    assert share.serves("ehr") is serves
