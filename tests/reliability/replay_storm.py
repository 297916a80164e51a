"""P-06: 10,000 dead letters are replayed while new studies come; what does that cost those?

``python -m tests.reliability.replay_storm [--dead 10000] [--database sqlite]``
Studies come at a steady pace, first alone, then while the replay drains.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.session import Database
from intu_fhir.model.work import DEAD, DELIVERED
from intu_fhir.observe.clock import SystemClock
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.reliability.ground import Ground, ground
from tests.support.counting import CountingEhr, between
from tests.support.databases import KINDS
from tests.support.delivering import fhir_at, write_delivering_site
from tests.support.live import Live, in_words, p99
from tests.support.many import Many, study_uid
from tests.support.queue_mutants import QUEUE_MUTANTS
from tests.support.waiting import wait_until
from tests.support.workers import Workers

EHR = "ehr"
_WARM_UP_SECONDS = 3.0


@dataclass(frozen=True)
class Storm:
    """What is to happen.

    Args:
        dead: dead letters that are replayed.
        seconds: how long new studies come alone.
        every: seconds between two of them.
        delay: seconds that the EHR takes for a request, at most.
    """

    dead: int = 10_000
    seconds: float = 60.0
    every: float = 0.25
    at_once: int = 4
    delay: float = 0.05
    mutant: str = ""
    patience: float = 3_600.0


@dataclass
class Cost:
    """Seconds from due to arrived of new studies, alone and during the replay."""

    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    put_back: int = 0
    drained: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def factor(self) -> float:
        """Return how many times longer 99 of 100 new studies take."""
        return p99(self.during) / p99(self.before)

    def line(self) -> str:
        """Return it in one line."""
        return (
            f"{len(self.before)} new studies alone {in_words(self.before)}; {len(self.during)} "
            f"during the replay of {self.put_back} in {self.drained:.0f} s "
            f"{in_words(self.during)}; p99 times {self.factor():.2f}; "
            f"{len(self.wrong)} missing or doubled"
        )


def weather(place: Ground, storm: Storm) -> Cost:
    """Let new studies come alone, then replay."""
    cost, bell = Cost(), place.folder / "bell"
    with contextlib.ExitStack() as stack:
        pace = between(storm.delay / 3, storm.delay)
        ehr = stack.enter_context(CountingEhr(place.folder / "ehr", delay=pace))
        destination = fhir_at(ehr.base_url, concurrency=storm.at_once)
        order = write_delivering_site(place, {EHR: destination})
        database = Database(place.url, pool_size=3)
        stack.callback(database.close)
        many = Many(database, place.folder / "files", pictures=False)
        many.add(range(1, storm.dead + 1), [EHR], due=datetime.now(UTC), state=DEAD)
        live = Live(many, [EHR], bell)
        stack.callback(live.close)
        workers = stack.enter_context(Workers())
        workers.start(replace(order, bell=str(bell), mutant=storm.mutant))
        first = live.come(_WARM_UP_SECONDS, storm.every)  # who has just started has much to load
        live.delays(first, lambda: _arrivals(ehr))
        came = live.come(storm.seconds, storm.every)
        cost.before = live.delays(came, lambda: _arrivals(ehr))
        with live.coming(storm.every) as came:
            _replay(database, storm, cost)
        cost.during = live.delays(came, lambda: _arrivals(ehr))
        cost.wrong = _wrong(ehr, [*range(1, storm.dead + 1), *live.due])
    return cost


def _replay(database: Database, storm: Storm, cost: Cost) -> None:
    """Replay all that is dead, and wait until it is there."""
    begun = time.monotonic()
    selection = ReplaySelection(ReplayFilter(states=(DEAD,)), by="test", reason="P-06")
    cost.put_back = replay(database, SystemClock(), selection).deliveries
    d = t.deliveries.c
    dead = d.study_key <= storm.dead
    missing = sa.select(sa.func.count()).where(dead, d.state != DELIVERED)

    def is_drained() -> bool:
        time.sleep(0.5)
        with database.read() as connection:
            return not connection.execute(missing).scalar_one()

    wait_until(is_drained, storm.patience, "the end of the replay")
    cost.drained = time.monotonic() - begun


def _arrivals(ehr: CountingEhr) -> dict[str, float]:
    return {uid: at for (uid, _), at in list(ehr.arrived.items())}


def _wrong(ehr: CountingEhr, numbers: list[int]) -> list[str]:
    """Return the studies that are not there as one resource with one version."""
    found = ehr.generations()
    return [uid for uid in map(study_uid, numbers) if found.get(uid) != [[1]]]


def main() -> int:
    """Run it; exit 1 where new studies pay, or any is missing or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dead", type=int, default=Storm.dead)
    parser.add_argument("--seconds", type=float, default=Storm.seconds)
    parser.add_argument("--every", type=float, default=Storm.every)
    parser.add_argument("--delay", type=float, default=Storm.delay)
    parser.add_argument("--database", choices=KINDS, default="postgresql")
    parser.add_argument("--mutant", choices=sorted(QUEUE_MUTANTS), default="")
    options = vars(parser.parse_args())
    kind = options.pop("database")
    with ground(kind) as place:
        cost = weather(place, Storm(**options))
    print(f"{kind}: {cost.line()}", flush=True)
    return bool(cost.wrong) or cost.factor() >= 2


if __name__ == "__main__":
    sys.exit(main())
