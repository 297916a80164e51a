"""One place where studies queue: so many are served at the same time, the first come first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Closed:
    """A time at which nothing new begins, in seconds."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Served:
    """What happened at a station, study by study.

    Args:
        waited: seconds each study waited, in the order in which they were given.
        done: when each one was through.
        busy: seconds of service, over all places.
        longest_queue: most studies that waited at the same time.
    """

    waited: list[float]
    done: list[float]
    busy: float
    longest_queue: int


def serve(
    ready: Sequence[float], needs: Sequence[float], places: int, closed: Closed | None = None
) -> Served:
    """Serve studies at a station.

    Args:
        ready: when each study comes, in any order.
        needs: seconds of service of each.
        places: how many are served at the same time.
        closed: when nothing new begins; what is being served then is finished.
    """
    order = sorted(range(len(ready)), key=ready.__getitem__)
    free = [0.0] * places
    begun = [0.0] * len(ready)
    done = [0.0] * len(ready)
    for study in order:
        begin = max(ready[study], heapq.heappop(free))
        if closed is not None and closed.begin <= begin < closed.end:
            begin = closed.end
        begun[study], done[study] = begin, begin + needs[study]
        heapq.heappush(free, done[study])
    waited = [begin - came for begin, came in zip(begun, ready, strict=True)]
    return Served(waited, done, sum(needs), _longest_queue(ready, begun))


def _longest_queue(ready: Sequence[float], begun: Sequence[float]) -> int:
    """Return the most studies that waited at the same time."""
    # At one moment those that begin leave before others come.
    changes = sorted([(time, 1) for time in ready] + [(time, -1) for time in begun])
    waiting = most = 0
    for _, change in changes:
        waiting += change
        most = max(most, waiting)
    return most
