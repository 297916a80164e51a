"""D-06: workers are killed at random moments and frozen while studies go to an EHR and a PACS.

``python -m tests.reliability.worker_kills [--studies 4500] [--database sqlite] [--freeze]``
The far sides count: each study one resource, each of its generations there once and in order,
each image once but for those in hand at a kill; never more on their way than the limit allows.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.work import DELIVERED
from tests.reliability.ground import Ground, ground
from tests.reliability.kill_watch import Watch
from tests.reliability.worker_promises import EHR, PACS, Census, Found, Plan
from tests.support.counting import CountingEhr, CountingPacs, between
from tests.support.databases import KINDS
from tests.support.many import Many
from tests.support.ports import free_port
from tests.support.queue_mutants import QUEUE_MUTANTS
from tests.support.site_folder import write_site
from tests.support.worker_process import WorkOrder
from tests.support.workers import RunningWorker, Workers

_TICK_SECONDS = 0.05
_TELL_SECONDS = 20.0


class Trouble:
    """Kills a worker now and then, starts another one for it, freezes some."""

    def __init__(self, workers: Workers, plan: Plan, order: WorkOrder, watch: Watch) -> None:
        self._workers, self._plan, self._watch = workers, plan, watch
        self._chance = random.Random(plan.seed)
        self._next = plan.every
        self._frozen: list[tuple[float, RunningWorker]] = []
        self.kills = self.freezes = self.most_frozen = 0
        self._all = [self._start(order) for _ in range(plan.workers)]

    def _start(self, order: WorkOrder) -> RunningWorker:
        skew = self._chance.uniform(-self._plan.skew, self._plan.skew)
        return self._workers.start(replace(order, skew=skew))

    def tick(self, done: int) -> None:
        """Do what is due after so many deliveries."""
        now = time.monotonic()
        for until, worker in [pair for pair in self._frozen if pair[0] <= now]:
            worker.thaw()
            self._frozen.remove((until, worker))
        if done < self._next:
            return
        self._next = done + round(self._chance.uniform(0.2, 1.8) * self._plan.every)
        busy = [worker for worker in self._all if all(worker != w for _, w in self._frozen)]
        victim = self._chance.choice(busy)
        if self._plan.freeze and self._chance.random() < 0.5:
            self._freeze(victim, now)
        else:
            self._kill(victim)

    def _freeze(self, victim: RunningWorker, now: float) -> None:
        victim.freeze()
        self.freezes += 1
        self._frozen.append((now + self._plan.lease * self._chance.uniform(1.1, 1.6), victim))
        self.most_frozen = max(self.most_frozen, len(self._frozen))

    def _kill(self, victim: RunningWorker) -> None:
        victim.kill()
        self.kills += 1
        self._watch.killed(victim.pid)
        self._all.remove(victim)
        self._all.append(self._start(victim.order))

    def end(self) -> None:
        """Let everybody go on, and then stop."""
        for _, worker in self._frozen:
            worker.thaw()
        for worker in self._all:
            worker.stop()


@dataclass
class Run:
    """One run on one ground."""

    plan: Plan
    place: Ground
    ehr: CountingEhr
    pacs: CountingPacs
    database: Database
    wanted: dict[int, int] = field(default_factory=dict)

    def do(self) -> Found:
        """Stage, deliver under trouble, count."""
        many = Many(self.database, self.place.folder / "files")
        numbers = range(1, self.plan.studies + 1)
        now = datetime.now(UTC)
        due = {n: now + timedelta(milliseconds=n - self.plan.studies) for n in numbers}
        many.add(numbers, [EHR, PACS], due=due)
        self.wanted = dict.fromkeys(numbers, 1)
        watch, begun = Watch(self.database), time.monotonic()
        order = WorkOrder(
            str(self.place.folder), str(self.place.folder / "log"), mutant=self.plan.mutant
        )
        with Workers() as workers:
            trouble = Trouble(workers, self.plan, order, watch)
            self._until_all_is_there(many, trouble, watch, begun)
            seconds = time.monotonic() - begun
            trouble.end()
        found = Found(kills=trouble.kills, freezes=trouble.freezes, seconds=seconds)
        found.recovery = watch.seconds
        # What a worker has on its way stays there while it is frozen, and is another's, too.
        at_once = self.plan.at_once * (1 + trouble.most_frozen)
        Census(self.plan, self.wanted, self.ehr, self.pacs).count(found, at_once)
        found.deliveries, _ = self._count()
        return found

    def _until_all_is_there(self, many: Many, trouble: Trouble, watch: Watch, begun: float) -> None:
        chance = random.Random(self.plan.seed)
        late = chance.sample(range(1, self.plan.studies + 1), self.plan.late)
        told = begun
        while True:
            done, missing = self._count()
            stuck = time.monotonic() > begun + self.plan.patience
            if stuck or not (late or missing):
                return
            while late and len(late) * 2 * self.plan.studies >= self.plan.late * missing:
                if not self._grow(many, late[-1]):
                    break  # its sender tries again
                late.pop()
            trouble.tick(done)
            watch.look()
            if time.monotonic() > told + _TELL_SECONDS:
                told = time.monotonic()
                print(f"{done} deliveries, {trouble.kills} kills", file=sys.stderr, flush=True)
            time.sleep(_TICK_SECONDS)

    def _grow(self, many: Many, number: int) -> bool:
        """Let one more image come; False where a worker has frozen with its study locked."""
        with suppress(StoreUnavailable), self.database.write() as connection:
            now = datetime.now(UTC)
            wanted = many.grow(connection, number, [EHR, PACS], now)
            self.wanted[number] = wanted
            return True
        return False

    def _count(self) -> tuple[int, int]:
        """Return how many deliveries were confirmed, and how many rows are not yet there."""
        d = t.deliveries.c
        there = sa.and_(d.state == DELIVERED, d.have == d.want)
        done = sa.select(sa.func.count()).where(t.attempts.c.outcome == DELIVERED)
        missing = sa.select(sa.func.count()).where(~there)
        both = sa.select(done.scalar_subquery(), missing.scalar_subquery())
        with self.database.read() as connection:
            confirmed, open_rows = connection.execute(both).one()
        return confirmed, open_rows


@contextmanager
def prepared(plan: Plan, place: Ground) -> Iterator[Run]:
    """Give a run with its far sides and its configuration."""
    with ExitStack() as stack:
        ehr = CountingEhr(place.folder / "ehr", delay=between(plan.delay / 5, plan.delay))
        stack.enter_context(ehr)
        pacs = stack.enter_context(CountingPacs())
        common = {"breaker": {"failures": 50}, "timeout_seconds": 20}
        write_site(
            place.folder,
            database=place.url,
            port=free_port(),
            destinations={
                EHR: {
                    "type": "fhir",
                    "base_url": ehr.base_url,
                    "subject": {"strategy": "logical"},
                    "concurrency": plan.at_once,
                    **common,
                },
                PACS: {
                    "type": "dicom",
                    "host": "127.0.0.1",
                    "port": pacs.port,
                    "called_ae_title": "PACS",
                    "max_associations": plan.at_once,
                    "max_per_minute": plan.per_minute,
                    **common,
                },
            },
            lease_seconds=plan.lease,
            retry={"first_seconds": 0.5, "max_seconds": 2, "max_attempts": 100},
        )
        database = Database(place.url, pool_size=2)
        stack.callback(database.close)
        yield Run(plan, place, ehr, pacs, database)


def main() -> int:
    """Kill; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=Plan.studies)
    parser.add_argument("--late", type=int, default=Plan.late)
    parser.add_argument("--per-minute", type=float, default=Plan.per_minute)
    parser.add_argument("--lease", type=float, default=Plan.lease)
    parser.add_argument("--skew", type=float, default=Plan.skew)
    parser.add_argument("--every", type=int, default=Plan.every, help="deliveries for a kill")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=KINDS, default="postgresql")
    parser.add_argument("--mutant", choices=sorted(QUEUE_MUTANTS), default="")
    options = vars(parser.parse_args())
    kind = options.pop("database")
    plan = Plan(**options)
    with ground(kind) as place, prepared(plan, place) as run:
        found = run.do()
    print(f"{kind}: {found.line()}", flush=True)
    for what in (found.lost, found.doubled, found.repeated, found.disordered):
        sys.stderr.writelines(f"{one}\n" for one in what[:5])
    return found.is_bad(plan)


if __name__ == "__main__":
    sys.exit(main())
