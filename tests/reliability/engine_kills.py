"""An engine loses, repeats and doubles its work while a site delivers.

``python -m tests.reliability.engine_kills --engine airflow --deliveries 10000 --kills 40``
The engine is started twice on the same site. Processes that hold a lease are killed at random
moments; under Airflow all of it is killed once as well, and its metadata is wiped. Meanwhile one
study in ten gets another image. In the end each study is to be exactly once at the EHR, each of its
generations once and in order, each image at the PACS, and no limit of a destination was passed.
What a killed process had in hand is to be somebody else's once its lease has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.reliability.ground import ground
from tests.reliability.kill_watch import Taken, Watch
from tests.support.airflow import Airflow
from tests.support.databases import KINDS, start_postgres
from tests.support.engines import KINDS as ENGINES
from tests.support.engines import AirflowDags, EngineAtWork, LocalWorkers
from tests.support.worked_site import WorkedSite, worked_site

_TICK_SECONDS = 0.05
_SLACK_SECONDS = 10.0
"""What may be added to a lease before somebody looks: Airflow starts a killed task again after five
seconds, and a busy machine needs some for the start."""


@dataclass
class Tally:
    """What a run found; times in seconds.

    Args:
        standstill: the longest time in which nothing was delivered, from the first delivery on.
        sent_again: images that a PACS got once more, since who sent them died before noting it.
        recovery: from a kill until somebody else had the work, for each piece of it.
        recovery_of_all: the same where all of the engine was killed, its own start included.
    """

    deliveries: int = 0
    kills: int = 0
    wiped: int = 0
    seconds: float = 0.0
    standstill: float = 0.0
    sent_again: int = 0
    faults: list[str] = field(default_factory=list)
    recovery: list[Taken] = field(default_factory=list)
    recovery_of_all: list[Taken] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        """Return the run in one line."""
        return (
            f"{self.deliveries} deliveries in {self.seconds:.0f} s with {self.kills} kills, "
            f"{self.wiped} times wiped: {len(self.faults)} lost, doubled or beyond a limit; "
            f"{self.sent_again} images sent again; longest standstill {self.standstill:.1f} s; "
            f"{len(self.recovery)} pieces of work of killed processes taken again, the last after "
            f"{_longest(self.recovery):.1f} s; {len(self.recovery_of_all)} of the engine "
            f"killed as a whole, after {_longest(self.recovery_of_all):.1f} s"
        )

    def late(self, seconds: float) -> list[str]:
        """Say which work of single killed processes waited for longer."""
        return [
            f"{one.lane}: its holder died {one.killed_at - self.begun:.0f} s after the begin, "
            f"taken again after {one.seconds:.1f} s"
            for one in self.recovery
            if one.seconds > seconds
        ]


def _longest(taken: list[Taken]) -> float:
    return max((one.seconds for one in taken), default=0.0)


def endure(
    site: WorkedSite,
    engine: EngineAtWork,
    *,
    kills: int,
    chance: random.Random,
    wipe: Airflow | None = None,
    late: int = 0,
    seconds: float,
) -> Tally:
    """Kill who is at work, evenly over the run, until all that is staged has been delivered.

    Args:
        wipe: is killed as a whole and loses all it knows, once, after a third of the deliveries.
        late: studies that get another image meanwhile.

    Raises:
        AssertionError: not all was delivered within ``seconds``.
    """
    run = _Run(site, chance, late, 2 * (len(site.sent) + late), Tally())
    engine.start()
    engine.start()
    begun, marks = time.monotonic(), _marks(run.wanted, kills, chance)
    while not run.is_over():
        assert time.monotonic() - begun < seconds, f"{run.done} of {run.wanted} delivered"
        time.sleep(_TICK_SECONDS)
        run.look()
        if wipe is not None and not run.tally.wiped and run.done >= run.wanted / 3:
            run.lose_all(wipe)
        if marks and run.done >= marks[0] and run.kill():
            marks.pop(0)
    run.tally.seconds = time.monotonic() - begun
    engine.stop()
    return run.result()


class _Run:
    """One run: what has been delivered, what is to come, and who was killed."""

    def __init__(
        self, site: WorkedSite, chance: random.Random, late: int, wanted: int, tally: Tally
    ) -> None:
        self.wanted, self.tally, self.done = wanted, tally, 0
        self._site, self._chance, self._late = site, chance, late
        self._last = time.monotonic()
        self._one, self._all = Watch(site.app.database), Watch(site.app.database)

    def is_over(self) -> bool:
        """Say whether all has come and all of it was delivered."""
        return len(self._site.grown) >= self._late and self._site.is_done()

    def look(self) -> None:
        """Note what has been delivered and taken again; let late images come at the same pace."""
        done = self._site.confirmed()
        if done > self.done:
            if self.done:
                standstill = time.monotonic() - self._last
                self.tally.standstill = max(self.tally.standstill, standstill)
            self.done, self._last = done, time.monotonic()
        self._one.look()
        self._all.look()
        while len(self._site.grown) < min(self._late, 1.2 * self._late * done / self.wanted):
            if not self._site.grow(self._chance):
                break

    def kill(self) -> bool:
        """Kill somebody who has work in hand, if anybody has."""
        victim = self._site.kill_a_holder(self._chance)
        if victim is not None:
            self._one.killed(victim)
            self.tally.kills += 1
        return victim is not None

    def lose_all(self, airflow: Airflow) -> None:
        """Kill all of Airflow, tasks included, and start it with empty metadata."""
        airflow.kill()
        for pid in set(self._site.holders()):
            self._all.killed(pid)
        airflow.renew_metadata()
        airflow.start()
        self.tally.wiped += 1

    def result(self) -> Tally:
        """Return what was found, once the engine has ended."""
        tally = self.tally
        tally.deliveries = self._site.confirmed()
        tally.recovery, tally.recovery_of_all = self._one.taken, self._all.taken
        tally.sent_again, tally.faults = self._site.sent_again(), self._site.faults()
        return tally


def _marks(deliveries: int, kills: int, chance: random.Random) -> list[int]:
    """Return after how many deliveries to kill, in order."""
    return sorted(chance.randrange(1, max(2, deliveries * 9 // 10)) for _ in range(kills))


@contextlib.contextmanager
def own_airflow(home: Path) -> Iterator[Airflow]:
    """Run an Airflow on a database server of its own."""
    server = start_postgres()
    try:
        airflow = Airflow(home / "airflow", server)
        airflow.renew_metadata()
        airflow.start()
        yield airflow
        airflow.close()
    finally:
        server.stop()


def main() -> int:
    """Endure it; exit 1 if something was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=ENGINES, default="airflow")
    parser.add_argument("--database", choices=KINDS, default="postgresql")
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--lease", type=float, default=60.0, help="seconds")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between Airflow's runs")
    parser.add_argument("--limit", type=int, default=4, help="studies at once for each far side")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    studies = options.deliveries * 10 // 22
    how: dict[str, Any] = {"kills": options.kills, "chance": random.Random(options.seed)}
    how |= {"late": studies // 10, "seconds": 3_600.0}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(ground(options.database))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intu-engine-")))
        site = stack.enter_context(
            worked_site(
                folder / "site", place.url, lease_seconds=options.lease, limit=options.limit
            )
        )
        site.stage(studies)
        print(f"staged {len(site.sent)} studies", flush=True)
        if options.engine == "local":
            tally = endure(site, LocalWorkers(site.folder), **how)
        else:
            airflow = stack.enter_context(own_airflow(folder))
            slots = {"ehr": 2, "pacs": 2}
            dags = AirflowDags(
                airflow, site.folder, "site", slots=slots, every_seconds=options.every
            )
            tally = endure(site, dags, wipe=airflow, **how)
    print(f"{options.engine}, {options.database}: {tally.line()}")
    print(*tally.faults[:20], sep="\n")
    late = tally.late(options.lease + _SLACK_SECONDS)
    print(*late, sep="\n")
    return bool(tally.faults or late)


if __name__ == "__main__":
    sys.exit(main())
