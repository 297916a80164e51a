"""An engine loses, repeats and doubles its work while a site delivers.

``python -m tests.reliability.engine_kills --engine airflow --deliveries 10000 --kills 40``
The engine is started twice on the same site. Processes that hold a lease are killed at random
moments; under Airflow all of it is killed once as well, and its metadata is wiped. In the end each
study is to be exactly once at the EHR, at least once at the PACS, and no limit of a destination was
passed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.ground import ground
from tests.support.airflow import Airflow
from tests.support.databases import KINDS, start_postgres
from tests.support.engines import KINDS as ENGINES
from tests.support.engines import AirflowDags, EngineAtWork, LocalWorkers
from tests.support.worked_site import WorkedSite, worked_site

_TICK_SECONDS = 0.05


@dataclass
class Tally:
    """What a run found; times in seconds.

    Args:
        standstill: the longest time in which nothing was delivered, from the first delivery on.
        sent_again: images that a PACS got once more, since who sent them died before noting it.
    """

    deliveries: int = 0
    kills: int = 0
    wiped: int = 0
    seconds: float = 0.0
    standstill: float = 0.0
    sent_again: int = 0
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the run in one line."""
        return (
            f"{self.deliveries} deliveries in {self.seconds:.0f} s with {self.kills} kills, "
            f"{self.wiped} times wiped: {len(self.faults)} lost, doubled or beyond a limit; "
            f"{self.sent_again} images sent again; longest standstill {self.standstill:.1f} s"
        )


def endure(
    site: WorkedSite,
    engine: EngineAtWork,
    *,
    kills: int,
    chance: random.Random,
    wipe: Callable[[], None] | None = None,
    seconds: float,
) -> Tally:
    """Kill who is at work, evenly over the run, until all that is staged has been delivered.

    Args:
        wipe: takes all the engine knows from it, once, after a third of the deliveries.

    Raises:
        AssertionError: not all was delivered within ``seconds``.
    """
    tally = Tally(deliveries=2 * len(site.sent))
    engine.start()
    engine.start()
    begun = last = time.monotonic()
    done, marks = 0, _marks(tally.deliveries, kills, chance)
    while done < tally.deliveries:
        assert time.monotonic() - begun < seconds, f"{done} of {tally.deliveries} delivered"
        time.sleep(_TICK_SECONDS)
        now_done = site.delivered()
        if now_done > done:
            if done:
                tally.standstill = max(tally.standstill, time.monotonic() - last)
            done, last = now_done, time.monotonic()
        if wipe is not None and not tally.wiped and done >= tally.deliveries / 3:
            wipe()
            tally.wiped += 1
        if marks and done >= marks[0] and site.kill_a_holder(chance=chance):
            marks.pop(0)
            tally.kills += 1
    tally.seconds = time.monotonic() - begun
    engine.stop()
    tally.sent_again, tally.faults = site.sent_again(), site.faults()
    return tally


def _marks(deliveries: int, kills: int, chance: random.Random) -> list[int]:
    """Return after how many deliveries to kill, in order."""
    return sorted(chance.randrange(1, max(2, deliveries * 9 // 10)) for _ in range(kills))


def wiping(airflow: Airflow) -> Callable[[], None]:
    """Return what kills all of Airflow, tasks included, and starts it with empty metadata."""

    def wipe() -> None:
        airflow.kill()
        airflow.renew_metadata()
        airflow.start()

    return wipe


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
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    how = {"kills": options.kills, "chance": random.Random(options.seed), "seconds": 3_600.0}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(ground(options.database))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intu-engine-")))
        site = stack.enter_context(worked_site(folder / "site", place.url))
        site.stage(options.deliveries // 2)
        print(f"staged {len(site.sent)} studies", flush=True)
        if options.engine == "local":
            tally = endure(site, LocalWorkers(site.folder), **how)
        else:
            airflow = stack.enter_context(own_airflow(folder))
            dags = AirflowDags(airflow, site.folder, "site", slots={"ehr": 2})
            tally = endure(site, dags, wipe=wiping(airflow), **how)
    print(f"{options.engine}, {options.database}: {tally.line()}")
    print(*tally.faults[:20], sep="\n")
    return bool(tally.faults)


if __name__ == "__main__":
    sys.exit(main())
