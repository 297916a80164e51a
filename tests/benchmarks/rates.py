"""Images per second, each receiver in turn, round after round."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.benchmarks.objects import CT, SMALL, Kind
from tests.benchmarks.receivers import CALLED, Receiver
from tests.benchmarks.sender import Job, rate

Way = TypeVar("Way")


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of the table; ``share`` of the wanted number of images is sent."""

    kind: Kind
    associations: int
    share: float

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.associations} assoc."


CELLS = (Cell(CT, 1, 0.6), Cell(CT, 4, 1.0), Cell(SMALL, 1, 1.0), Cell(SMALL, 4, 2.0))


@dataclass
class Rates:
    """What was measured: by receiver and column, one rate for each round, 0 where it failed."""

    by_place: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def median(self, receiver: str, cell: object) -> float:
        """Return the middle rate."""
        return statistics.median(self.by_place[receiver, str(cell)])

    def ratio(self, receiver: str, other: str, cell: object) -> float:
        """Return the middle of the ratios of each round."""
        pairs = zip(
            self.by_place[receiver, str(cell)], self.by_place[other, str(cell)], strict=True
        )
        return statistics.median(one / two if two else float("inf") for one, two in pairs)


def measure(
    receivers: Sequence[Receiver],
    cells: Sequence[Cell],
    *,
    instances: int,
    rounds: int,
    say: Callable[[str], None],
) -> Rates:
    """Measure every receiver in every column, ``rounds`` times over.

    Within a round the receivers follow each other, in another order each time, so that what
    changes on the machine meanwhile changes for all of them.
    """
    rates = Rates()
    for number, (cell, receiver) in enumerate(plan(receivers, cells, rounds)):
        count = max(1, int(instances * cell.share / cell.associations))
        with receiver.running() as running:
            job = Job(running.port, CALLED, cell.kind, cell.associations, count, number)
            found = rate(job)
        rates.by_place[receiver.name, str(cell)].append(found)
        say(f"{receiver.name}: {cell}: {found:.0f}/s")
    return rates


def plan(ways: Sequence[Way], cells: Sequence[Cell], rounds: int) -> Iterator[tuple[Cell, Way]]:
    """Give what to measure next, each round in another order."""
    for one_round in range(rounds):
        turn = one_round % len(ways)
        for cell in cells:
            for way in (*ways[turn:], *ways[:turn]):
                yield cell, way
