"""H-05: an EHR is away for eight hours, 10,000 studies wait, and it comes back.

``python -m tests.reliability.long_outage [--studies 10000] [--database sqlite]``
The eight hours pass on a clock that is moved; what follows is real: workers in processes of their
own and a FHIR server that counts how many requests it has in hand.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import sqlalchemy as sa

from intu_fhir.app.wiring import open_app
from intu_fhir.app.working import Working
from intu_fhir.db import tables as t
from intu_fhir.db.session import Database
from intu_fhir.model.work import DEAD, DELIVER, DELIVERED
from intu_fhir.observe.logging import configure_logging
from intu_fhir.pipeline.runner import Lane
from intu_fhir.settings.load import load_configuration
from tests.reliability.ground import Ground, ground
from tests.support.clock import FakeClock
from tests.support.counting import CountingEhr, between
from tests.support.databases import KINDS
from tests.support.delivering import fhir_at, write_delivering_site
from tests.support.far_sides import Peer, RawServer
from tests.support.many import Many, study_uid
from tests.support.ports import free_port
from tests.support.queue_mutants import QUEUE_MUTANTS
from tests.support.waiting import wait_until
from tests.support.workers import Workers

EHR = "ehr"
HOURS = 8.0


@dataclass(frozen=True)
class Outage:
    """What is to happen.

    Args:
        late: one in so many studies gets another image meanwhile.
        at_once: requests that the server may have in hand, as configured.
        delay: seconds that the server takes for a request, at most.
    """

    studies: int = 10_000
    late: int = 10
    workers: int = 3
    at_once: int = 8
    hours: float = HOURS
    delay: float = 0.03
    mutant: str = ""
    patience: float = 3_600.0


@dataclass
class Seen:
    """What a run has shown.

    Args:
        probes: connections to the server while it was away.
        stampede: more in hand than it had answered before, while it recovered.
    """

    probes: int = 0
    dead: int = 0
    seconds: float = 0.0
    most: int = 0
    stampede: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def line(self, outage: Outage) -> str:
        """Return it in one line."""
        return (
            f"{outage.studies} studies waited {outage.hours:g} h: {self.probes} probes, "
            f"{self.dead} dead letters; delivered in {self.seconds:.0f} s, at most {self.most} of "
            f"{outage.at_once} at once, {self.stampede} too many while it recovered, "
            f"{len(self.lost)} lost, {len(self.wrong)} doubled or out of order"
        )

    def is_bad(self, outage: Outage) -> bool:
        """Say whether a promise broke."""
        # Probes come after 5, 10, 20 ... seconds, half of each by chance, and then every 300.
        allowed = 20 + outage.hours * 3_600 / 150
        many = self.most > outage.at_once or self.probes > allowed
        return bool(self.lost or self.wrong or self.dead or self.stampede) or many


def suffer(place: Ground, outage: Outage) -> Seen:
    """Let the server be away, come back, and be served."""
    port, seen, start = free_port(), Seen(), datetime.now(UTC)
    database = Database(place.url, pool_size=2)
    destination = fhir_at(f"http://127.0.0.1:{port}/fhir", concurrency=outage.at_once)
    order = write_delivering_site(place, {EHR: destination}, retry={"max_seconds": 600})
    with contextlib.closing(database):
        wanted = _stage(database, place, outage, start)
        now = _while_it_is_away(place, outage, start, port, seen)
        pace = between(outage.delay / 2, outage.delay)
        skew = (now - datetime.now(UTC)).total_seconds()
        with (
            CountingEhr(place.folder / "ehr", delay=pace, port=port) as ehr,
            Workers() as workers,
        ):
            begun = time.monotonic()
            for _ in range(outage.workers):
                later = replace(order, skew=skew, is_later=True, mutant=outage.mutant)
                workers.start(later)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not _missing(database), outage.patience, "the end")
            seen.seconds = time.monotonic() - begun
            _count(ehr, wanted, seen)
        seen.dead = _count_state(database, DEAD)
    return seen


def _stage(database: Database, place: Ground, outage: Outage, start: datetime) -> dict[int, int]:
    """Let studies become due all through the outage; some of them get a late image."""
    numbers = range(1, outage.studies + 1)
    span = timedelta(hours=outage.hours)
    due = {n: start + span * (n / (outage.studies + 1)) for n in numbers}
    many = Many(database, place.folder / "files", pictures=False)
    many.add(numbers, [EHR], due=due)
    wanted = dict.fromkeys(numbers, 1)
    for number in random.Random(1).sample(numbers, outage.studies // outage.late):
        with database.write() as connection:
            wanted[number] = many.grow(connection, number, [EHR], due[number])
    return wanted


class _Deaf:
    """Closes each connection at once, and counts them."""

    def __call__(self, peer: Peer) -> None:
        peer.reset()


def _while_it_is_away(
    place: Ground, outage: Outage, start: datetime, port: int, seen: Seen
) -> datetime:
    """Let one worker do what it does, on a clock that jumps to whatever is due next."""
    clock = FakeClock(start)
    app = open_app(load_configuration(place.folder), clock)
    working = Working(app)
    destination = app.configuration.site.destinations[EHR]
    runner = app.runner({(DELIVER, EHR): working.delivery(destination)})
    lane = Lane(DELIVER, EHR, destination.limit)
    end = start + timedelta(hours=outage.hours)
    with RawServer(_Deaf(), port=port) as server:
        while clock.now() < end:
            if not runner.run_one(lane):
                clock.advance(max(runner.seconds_until_due(lane) or 1.0, 0.01))
        seen.probes = len(server.peers)
    working.close()
    app.close()
    return clock.now()


def _missing(database: Database) -> int:
    d = t.deliveries.c
    open_rows = sa.select(sa.func.count()).where(d.state != DELIVERED)
    with database.read() as connection:
        return int(connection.execute(open_rows).scalar_one())


def _count_state(database: Database, state: str) -> int:
    found = sa.select(sa.func.count()).where(t.deliveries.c.state == state)
    with database.read() as connection:
        return int(connection.execute(found).scalar_one())


def _count(ehr: CountingEhr, wanted: dict[int, int], seen: Seen) -> None:
    found = ehr.generations()
    for number, generation in wanted.items():
        told = found.get(study_uid(number), [[]])
        if not told[0] or told[0][-1] != generation:
            seen.lost.append(study_uid(number))
        if len(told) > 1 or any(one >= other for one, other in pairwise(told[0])):
            seen.wrong.append(f"{study_uid(number)} {told}")
    seen.most = ehr.visits.most
    # One may go, then one more for each that was answered: see ``pipeline.breaker``.
    seen.stampede = sum(inside > left + 1 for inside, left in ehr.visits.met)


def main() -> int:
    """Run it; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=Outage.studies)
    parser.add_argument("--database", choices=KINDS, default="postgresql")
    parser.add_argument("--mutant", choices=sorted(QUEUE_MUTANTS), default="")
    options = vars(parser.parse_args())
    kind = options.pop("database")
    outage = Outage(**options)
    configure_logging(level="ERROR")
    with ground(kind) as place:
        seen = suffer(place, outage)
    print(f"{kind}: {seen.line(outage)}", flush=True)
    return seen.is_bad(outage)


if __name__ == "__main__":
    sys.exit(main())
