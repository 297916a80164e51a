"""K-02: the receiver is killed at random moments while several senders are at work.

``python -m tests.reliability.random_kills --kills 1000 [--database postgresql]``
After every kill a new receiver recovers; everything that was ever answered Success must be there
with its bytes, and every row must have a good file. Half of what had no answer is sent again.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from intu_fhir.db.session import Database
from tests.reliability.ground import ground
from tests.support.databases import KINDS
from tests.support.mutants import CRASH_MUTANTS
from tests.support.promises import Broken, examine
from tests.support.receiver_process import Order
from tests.support.receivers import Receivers, RunningReceiver
from tests.support.senders import Journal, Sample, Samples, Sender

SIZES = (2_000, 12_000, 150_000)
_MOST_ANSWERS, _LONGEST_SECONDS = 16, 0.05
"""A kill comes after a random number of answers and then a random time."""
_PATIENCE_SECONDS = 10.0
_FULL_LOOK = 50


@dataclass
class Tally:
    """What a run found."""

    kills: int = 0
    acknowledged: int = 0
    removed: int = 0
    restarts: list[float] = field(default_factory=list)
    broken: Broken = field(default_factory=Broken)

    def line(self) -> str:
        """Return the run in one line."""
        broken = {name: len(set(what)) for name, what in vars(self.broken).items()}
        cuts = statistics.quantiles(self.restarts, n=100)
        return (
            f"{self.kills} kills, {self.acknowledged} acknowledged, broken {broken}; "
            f"{self.removed} leftovers removed; restart with recovery "
            f"p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"
        )


class Modality:
    """Sends new objects without end, and some of those again that had no answer."""

    def __init__(self, number: int, chance: random.Random, journal: Journal) -> None:
        self._number, self._chance, self._journal = number, chance, journal
        self._kinds = [Samples(size) for size in SIZES]
        self._unanswered: list[Sample] = []
        self._numbers = itertools.count(1)

    def work(self, port: int) -> None:
        """Send until the receiver is gone."""
        try:
            sender = Sender(port, self._journal)
        except OSError:
            return
        if sender.associate():
            self._unanswered = [s for s in self._unanswered if self._chance.random() < 0.5]
            left = sender.send_all(self._unanswered)
            self._unanswered = left
            while not left:
                sample = self._new()
                left = [sample] if sender.send(sample) is None else []
                self._unanswered += left
        sender.close()

    def _new(self) -> Sample:
        number = next(self._numbers)
        study = self._number * 10_000 + number // 20
        return self._chance.choice(self._kinds).make(study, number)


def kill_often(
    receivers: Receivers, order: Order, *, kills: int, senders: int, seed: int
) -> Iterator[Tally]:
    """Give the tally after each kill and the recovery from it."""
    chance = random.Random(seed)
    journal = Journal(Path(order.log).with_name("journal"))
    modalities = [
        Modality(n, random.Random(chance.random()), journal) for n in range(1, senders + 1)
    ]
    database = Database(order.database, pool_size=1)
    tally, seen = Tally(), 0
    try:
        receiver = receivers.start(order)
        for kill in range(1, kills + 1):
            answers = len(journal.statuses) + chance.randint(0, _MOST_ANSWERS)
            _send_and_kill(receiver, modalities, journal, answers, chance.random())
            journal.sync()
            receiver = receivers.start(order)
            full = kill % _FULL_LOOK == 0 or kill == kills
            broken, seen = examine(
                database,
                Path(order.files),
                journal.acknowledged,
                after=0 if full else seen,
                leftovers=full,
            )
            tally.kills, tally.acknowledged = kill, len(journal.acknowledged)
            tally.removed += receiver.removed
            tally.restarts.append(receiver.seconds)
            tally.broken.add(broken)
            yield tally
        receiver.kill()
    finally:
        database.close()
        journal.close()


def _send_and_kill(
    receiver: RunningReceiver,
    modalities: list[Modality],
    journal: Journal,
    answers: int,
    moment: float,
) -> None:
    threads = [threading.Thread(target=one.work, args=(receiver.port,)) for one in modalities]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _PATIENCE_SECONDS
    while len(journal.statuses) < answers and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(moment * _LONGEST_SECONDS)
    receiver.kill()
    for thread in threads:
        thread.join()


def main() -> int:
    """Kill; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    parser.add_argument("--mutant", choices=CRASH_MUTANTS, default="")
    options = parser.parse_args()
    begun, tally = time.monotonic(), Tally()
    with Receivers() as receivers, ground(options.database) as place:
        order = place.order(options.mutant)
        how = {"kills": options.kills, "senders": options.senders, "seed": options.seed}
        for tally in kill_often(receivers, order, **how):
            if tally.kills % 100 == 0 and tally.kills < options.kills:
                print(f"{tally.line()}, {time.monotonic() - begun:.0f} s so far", flush=True)
    print(f"{options.database}: {tally.line()}, {time.monotonic() - begun:.0f} s")
    return bool(tally.broken)


if __name__ == "__main__":
    sys.exit(main())
