"""P-04: one PACS of three is dead, another hangs on some objects; what does that cost the others?

``python -m tests.reliability.bad_neighbours [--seconds 60] [--database sqlite]``
Studies come at a steady pace, for all three. First all is well; then one PACS takes connections
and never answers, and the first of the others hangs on objects that are tried again and again.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db.session import Database
from intu_fhir.model.work import RETRYING
from tests.reliability.ground import Ground, ground
from tests.support.counting import CountingPacs
from tests.support.databases import KINDS
from tests.support.delivering import pacs_at, write_delivering_site
from tests.support.far_sides import Peer, RawServer
from tests.support.live import Live, in_words, p99
from tests.support.many import Many, instance_uid
from tests.support.queue_mutants import QUEUE_MUTANTS
from tests.support.workers import Workers

GOOD, POISONED, DEAD_ONE = "good", "poisoned", "dead"
_POISON = range(1, 4)
_WARM_UP_SECONDS = 3.0
_HANGS = {instance_uid(number, 1) for number in _POISON}


@dataclass(frozen=True)
class Street:
    """What is to happen.

    Args:
        seconds: for each of both parts.
        every: seconds between two studies.
        timeout: seconds that a PACS may be silent.
    """

    seconds: float = 60.0
    every: float = 0.25
    timeout: float = 4.0
    mutant: str = ""


@dataclass
class Cost:
    """Seconds from due to arrived, by PACS, when all is well and when not."""

    before: dict[str, list[float]] = field(default_factory=dict)
    after: dict[str, list[float]] = field(default_factory=dict)
    hung: int = 0

    def factor(self) -> float:
        """Return how many times longer 99 of 100 studies take at worst."""
        return max(p99(self.after[name]) / p99(self.before[name]) for name in self.before)

    def line(self) -> str:
        """Return it in one line."""
        parts = [
            f"{name}: {in_words(self.before[name])}; with bad neighbours {in_words(delays)}"
            for name, delays in self.after.items()
        ]
        return f"{'; '.join(parts)}; p99 times {self.factor():.2f}; {self.hung} tries that hung"


def _silent(peer: Peer) -> None:
    """Take what comes and answer nothing."""
    while True:
        peer.receive()


def _arrivals(pacs: CountingPacs) -> dict[str, float]:
    """Return when each study arrived: all have one instance."""
    return {uid.removesuffix(".1.1"): at for uid, at in list(pacs.received)}


def live_among(place: Ground, street: Street) -> Cost:
    """Let studies come among good neighbours, then among bad ones."""
    cost = Cost()
    with _street(place, street, bad=False) as (live, pacs):
        cost.before = _measure(live, pacs, street)
    with _street(place, street, bad=True) as (live, pacs):
        _poison(live.many)
        cost.after = _measure(live, pacs, street)
        cost.hung = _tries_on_poison(live.many.database)
    return cost


def _measure(live: Live, pacs: dict[str, CountingPacs], street: Street) -> dict[str, list[float]]:
    watched = {name: partial(_arrivals, pacs[name]) for name in (GOOD, POISONED)}
    first = live.come(_WARM_UP_SECONDS, street.every)  # who has just started has much to load
    for arrivals in watched.values():
        live.delays(first, arrivals)
    came = live.come(street.seconds, street.every)
    return {name: live.delays(came, arrivals) for name, arrivals in watched.items()}


@contextlib.contextmanager
def _street(
    place: Ground, street: Street, *, bad: bool
) -> Iterator[tuple[Live, dict[str, CountingPacs]]]:
    """Give a worker, three PACS, and studies that come."""
    with ExitStack() as stack:
        hangs = lambda uid: 3_600.0 if uid in _HANGS else 0.0  # noqa: E731
        pacs = {
            GOOD: stack.enter_context(CountingPacs()),
            POISONED: stack.enter_context(CountingPacs(delay=hangs)),
        }
        ports = {name: one.port for name, one in pacs.items()}
        if bad:
            ports[DEAD_ONE] = stack.enter_context(RawServer(_silent)).port
        else:
            pacs[DEAD_ONE] = stack.enter_context(CountingPacs())
            ports[DEAD_ONE] = pacs[DEAD_ONE].port
        settings: dict[str, Any] = {"max_associations": 2, "timeout_seconds": street.timeout}
        order = write_delivering_site(
            place,
            {name: pacs_at(port, **settings) for name, port in ports.items()},
            retry={"first_seconds": 0.1, "max_seconds": 0.2, "max_attempts": 100_000},
        )
        database = Database(place.url, pool_size=2)
        stack.callback(database.close)
        bell = place.folder / f"bell-{bad}"
        first = 2_000_001 if bad else 1_000_001
        many = Many(database, place.folder / "files")
        live = Live(many, [GOOD, POISONED, DEAD_ONE], bell, first)
        stack.callback(live.close)
        workers = stack.enter_context(Workers())
        workers.start(replace(order, bell=str(bell), mutant=street.mutant))
        yield live, pacs


def _poison(many: Many) -> None:
    """Stage studies on which a PACS hangs, and has hung before."""
    many.add(_POISON, [POISONED], due=datetime.now(UTC))
    poisoned = t.deliveries.c.study_key.in_(_POISON)
    with many.database.write() as connection:
        connection.execute(
            sa.update(t.deliveries).where(poisoned).values(state=RETRYING, attempts=1, backlog=True)
        )


def _tries_on_poison(database: Database) -> int:
    a, d = t.attempts.c, t.deliveries.c
    tries = sa.select(sa.func.count()).select_from(
        t.attempts.join(t.deliveries, a.delivery_key == d.delivery_key)
    )
    with database.read() as connection:
        found = connection.execute(tries.where(d.study_key.in_(_POISON)))
        return int(found.scalar_one())


def main() -> int:
    """Run it; exit 1 where the others pay."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=Street.seconds)
    parser.add_argument("--every", type=float, default=Street.every)
    parser.add_argument("--database", choices=KINDS, default="postgresql")
    parser.add_argument("--mutant", choices=sorted(QUEUE_MUTANTS), default="")
    options = vars(parser.parse_args())
    kind = options.pop("database")
    with ground(kind) as place:
        cost = live_among(place, Street(**options))
    print(f"{kind}: {cost.line()}", flush=True)
    return cost.factor() >= 2


if __name__ == "__main__":
    sys.exit(main())
