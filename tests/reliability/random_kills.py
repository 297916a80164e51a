"""K-02: the receiver is killed at random moments while several senders are at work.

``python -m tests.reliability.random_kills --kills 1000 [--database postgresql] [--processes 2]``
After every kill a new receiver recovers; everything that was ever answered Success must be there
with its bytes, and every row must have a good file. Half of what had no answer is sent again. Of
several receivers on one port one is killed; the others go on receiving while it recovers.
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
from dataclasses import dataclass, field, replace
from pathlib import Path

from intu_fhir.db.session import Database
from tests.reliability.ground import ground
from tests.support.databases import KINDS
from tests.support.mutants import CRASH_MUTANTS
from tests.support.ports import free_port
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
        self._is_over = threading.Event()

    def work(self, port: int) -> None:
        """Send until the receiver is gone, or this is told to rest."""
        self._is_over.clear()
        try:
            sender = Sender(port, self._journal)
        except OSError:
            return
        if sender.associate():
            self._unanswered = [s for s in self._unanswered if self._chance.random() < 0.5]
            left = sender.send_all(self._unanswered)
            self._unanswered = left
            while not left and not self._is_over.is_set():
                sample = self._new()
                left = [sample] if sender.send(sample) is None else []
                self._unanswered += left
        sender.close()

    def rest(self) -> None:
        """Let ``work`` end with the object in hand."""
        self._is_over.set()

    def _new(self) -> Sample:
        number = next(self._numbers)
        study = self._number * 10_000 + number // 20
        return self._chance.choice(self._kinds).make(study, number)


def kill_often(
    receivers: Receivers, order: Order, *, kills: int, senders: int, seed: int, processes: int = 1
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
        site = _Site(receivers, order, processes)
        for kill in range(1, kills + 1):
            answers = len(journal.statuses) + chance.randint(0, _MOST_ANSWERS)
            receiver = _send_and_kill(site, modalities, journal, answers, chance)
            journal.sync()
            full = kill % _FULL_LOOK == 0 or kill == kills
            broken, seen = examine(
                database,
                Path(order.files),
                journal.acknowledged,
                after=0 if full else seen,
                leftovers=full,
                writers=processes,
            )
            tally.kills, tally.acknowledged = kill, len(journal.acknowledged)
            tally.removed += receiver.removed
            tally.restarts.append(receiver.seconds)
            tally.broken.add(broken)
            yield tally
        site.kill()
    finally:
        database.close()
        journal.close()


class _Site:
    """One receiver, or several on one port."""

    def __init__(self, receivers: Receivers, order: Order, processes: int) -> None:
        self._receivers = receivers
        port = free_port() if processes > 1 else 0
        self._orders = [
            replace(order, name=f"receiver-{n}", port=port) for n in range(1, processes + 1)
        ]
        self._running = [receivers.start(one) for one in self._orders]

    @property
    def port(self) -> int:
        """Where they listen."""
        return self._running[0].port

    def kill_one(self, chance: random.Random) -> int:
        """Kill one of them; return which."""
        which = chance.randrange(len(self._running))
        self._running[which].kill()
        return which

    def start_again(self, which: int) -> RunningReceiver:
        """Start the one that was killed."""
        self._running[which] = self._receivers.start(self._orders[which])
        return self._running[which]

    def kill(self) -> None:
        """End all of them."""
        for receiver in self._running:
            receiver.kill()


def _send_and_kill(
    site: _Site,
    modalities: list[Modality],
    journal: Journal,
    answers: int,
    chance: random.Random,
) -> RunningReceiver:
    """Kill a receiver while it works, and start it again while the others work."""
    threads = [threading.Thread(target=one.work, args=(site.port,)) for one in modalities]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _PATIENCE_SECONDS
    while len(journal.statuses) < answers and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(chance.random() * _LONGEST_SECONDS)
    receiver = site.start_again(site.kill_one(chance))
    for one in modalities:
        one.rest()
    for thread in threads:
        thread.join()
    return receiver


def main() -> int:
    """Kill; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    parser.add_argument("--processes", type=int, default=1, help="receivers on one port")
    parser.add_argument("--mutant", choices=CRASH_MUTANTS, default="")
    options = parser.parse_args()
    begun, tally = time.monotonic(), Tally()
    with Receivers() as receivers, ground(options.database) as place:
        order = place.order(options.mutant)
        names = ("kills", "senders", "seed", "processes")
        how = {name: getattr(options, name) for name in names}
        for tally in kill_often(receivers, order, **how):
            if tally.kills % 100 == 0 and tally.kills < options.kills:
                print(f"{tally.line()}, {time.monotonic() - begun:.0f} s so far", flush=True)
    print(f"{options.database}: {tally.line()}, {time.monotonic() - begun:.0f} s")
    return bool(tally.broken)


if __name__ == "__main__":
    sys.exit(main())
