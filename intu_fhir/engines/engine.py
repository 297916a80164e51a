"""What an engine is: something that starts work and ends it. What the work is, it never knows."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


class Engine(Protocol):
    """Runs the work of a site, or a share of it.

    The state of all work is in the staging database. An engine may be started twice, stopped,
    killed or doubled at any time; nothing is lost by it and nothing done twice.
    """

    def start(self) -> None:
        """Begin to work, and return at once."""

    def wake(self, signal: str) -> None:
        """Let the workers of a step, or a chore, look at once; not needed, only faster."""

    def stop(self, grace_seconds: float) -> list[str]:
        """Take nothing new and finish what is in hand; return the workers that did not."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a site's work that one process does.

    Args:
        prepare: all that comes before delivery, and what is told to senders.
        prune: remove files and rows that are old by the site's own rule, and replaced files.
        destinations: names of those that it delivers to; None = all.
    """

    prepare: bool = True
    prune: bool = True
    destinations: Collection[str] | None = None

    def serves(self, destination: str) -> bool:
        """Say whether it delivers to a destination."""
        return self.destinations is None or destination in self.destinations


EVERYTHING = Share()
"""The share of a process that works alone."""


def run_for(
    engine: Engine,
    seconds: float,
    stop: threading.Event,
    *,
    grace_seconds: float,
    hurried_seconds: float,
) -> list[str]:
    """Let an engine work for a time, then finish what is in hand; return the workers that did not.

    What they hold is done again by another process, once its lease has run out.

    Args:
        stop: ends the time early where somebody sets it.
        grace_seconds: longest wait for what is in hand.
        hurried_seconds: the same where it was told to stop.
    """
    engine.start()
    try:
        stop.wait(seconds)
    finally:
        left = engine.stop(hurried_seconds if stop.is_set() else grace_seconds)
    return left
