"""K-06: the database is killed, hangs, is locked or drops its clients while objects come in.

``python -m tests.reliability.outages`` runs them all. Each object must be answered Success or
A700 on an association that lives on, C-ECHO must be answered at once, and soon after the
database is back everything must be taken again, with nothing lost and no file left over.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg

from intu_fhir.db.session import Database
from tests.reliability.ground import Ground, ground
from tests.support.promises import Broken, examine
from tests.support.raw_peer import RawPeer, status_of
from tests.support.receivers import Receivers
from tests.support.senders import SUCCESS, Journal, Samples, Sender

_SAMPLES = Samples(12_000)
_LATENCY_SECONDS = 5.0
_BACK_SECONDS = 5.0
"""So soon after the return of the database an object has to be taken again."""

Outage = Callable[[Ground], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def crashed(place: Ground) -> Iterator[None]:
    """Kill every process of PostgreSQL; start it again at the end."""
    assert place.cluster is not None
    place.cluster.crash()
    yield
    place.cluster.start()


@contextlib.contextmanager
def hanging(place: Ground) -> Iterator[None]:
    """Stop every process of PostgreSQL where it stands; let it go on at the end."""
    processes = place.server_processes()
    _signal(processes, signal.SIGSTOP)
    yield
    _signal(processes, signal.SIGCONT)


@contextlib.contextmanager
def slow(place: Ground) -> Iterator[None]:
    """Let PostgreSQL work for a moment only in every five seconds."""
    processes, over = place.server_processes(), threading.Event()

    def slow_down() -> None:
        while not over.is_set():
            _signal(processes, signal.SIGSTOP)
            over.wait(_LATENCY_SECONDS)
            _signal(processes, signal.SIGCONT)
            over.wait(0.05)

    thread = threading.Thread(target=slow_down)
    thread.start()
    yield
    over.set()
    thread.join()


def _signal(processes: Sequence[int], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # the server has helpers that come and go
            os.kill(process, number)


@contextlib.contextmanager
def terminated(place: Ground) -> Iterator[None]:
    """End the connections of all clients, again and again."""
    address = place.url.replace("+psycopg", "", 1)
    over = threading.Event()

    def terminate() -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            while not over.wait(0.05):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )

    thread = threading.Thread(target=terminate)
    thread.start()
    yield
    over.set()
    thread.join()


@contextlib.contextmanager
def locked(place: Ground) -> Iterator[None]:
    """Hold SQLite's write lock from another connection."""
    with contextlib.closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


OUTAGES: dict[str, tuple[str, Outage]] = {
    "killed": ("postgresql", crashed),
    "hanging": ("postgresql", hanging),
    "slow": ("postgresql", slow),
    "terminated": ("postgresql", terminated),
    "locked": ("sqlite", locked),
}


@dataclass
class Seen:
    """What happened around an outage.

    Args:
        answers: statuses, and ``none`` for objects without an answer.
        echoes_refused: C-ECHOs that were not answered Success.
        slowest_echo: seconds.
        back: seconds from the return of the database to the first Success.
    """

    answers: Counter[str] = field(default_factory=Counter)
    echoes_refused: int = 0
    slowest_echo: float = 0.0
    back: float = -1.0
    acknowledged: int = 0
    broken: Broken = field(default_factory=Broken)

    def is_bad(self) -> bool:
        """Say whether a promise broke."""
        others = self.answers.keys() - {"0000", "A700"}
        lost = bool(self.broken or others or self.echoes_refused)
        return lost or self.slowest_echo > 1 or self.back > _BACK_SECONDS

    def line(self) -> str:
        """Return it in one line."""
        broken = {name: len(what) for name, what in vars(self.broken).items()}
        return (
            f"answers {dict(sorted(self.answers.items()))}, {self.echoes_refused} C-ECHOs refused, "
            f"slowest {self.slowest_echo:.2f} s, first Success {self.back:.2f} s after the return, "
            f"{self.acknowledged} acknowledged, broken {broken}"
        )


class _Traffic:
    """Four modalities and a pinger, until told to stop."""

    def __init__(self, port: int, journal: Journal) -> None:
        self._port, self._journal = port, journal
        self._over = threading.Event()
        self.answers: list[tuple[float, str]] = []
        self.slowest_echo = 0.0
        self.echoes_refused = 0
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(1, 5)]
        self._threads.append(threading.Thread(target=self._ping))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let everyone finish what is in hand."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def first_success_after(self, moment: float) -> float:
        """Return the moment of the first Success after one, or 0."""
        return next((at for at, said in self.answers if at > moment and said == "0000"), 0.0)

    def _send(self, study: int) -> None:
        sender = Sender(self._port, self._journal, patience=60.0)
        assert sender.associate()
        number, tries = 1, 0
        while not self._over.is_set():
            status = sender.send(_SAMPLES.make(study, number))
            said = "none" if status is None else f"{status:04X}"
            self.answers.append((time.monotonic(), said))
            if status is None:
                sender = Sender(self._port, self._journal, patience=60.0)
                assert sender.associate()
            number, tries = (number + 1, 0) if status == SUCCESS else (number, tries + 1)
            self._over.wait(min(0.02 * tries, 0.1))
        sender.release()
        sender.close()

    def _ping(self) -> None:
        while not self._over.wait(0.05):
            begun = time.monotonic()
            try:
                with RawPeer(self._port) as peer:
                    peer.associate()
                    self.echoes_refused += status_of(peer.echo()) != SUCCESS
            except (AssertionError, OSError):
                self.echoes_refused += 1
            self.slowest_echo = max(self.slowest_echo, time.monotonic() - begun)


def suffer(
    receivers: Receivers,
    place: Ground,
    outage: Outage,
    *,
    seconds: float,
    wait_seconds: float,
    mutant: str = "",
) -> Seen:
    """Receive before, during and after an outage."""
    order = place.order(mutant, wait_seconds=wait_seconds)
    receiver = receivers.start(order)
    journal = Journal(place.folder / "journal")
    traffic, seen = _Traffic(receiver.port, journal), Seen()
    traffic.start()
    try:
        _wait(lambda: traffic.first_success_after(0.0))
        with outage(place):
            time.sleep(seconds)
        returned = time.monotonic()
        _wait(lambda: traffic.first_success_after(returned))
        seen.back = traffic.first_success_after(returned) - returned
        time.sleep(0.5)
    finally:
        traffic.stop()
    seen.answers.update(said for _, said in traffic.answers)
    seen.slowest_echo, seen.echoes_refused = traffic.slowest_echo, traffic.echoes_refused
    seen.acknowledged = len(journal.acknowledged)
    seen.broken = _look(place, journal)
    receiver.kill()
    receiver = receivers.start(order)
    seen.broken.add(_look(place, journal))
    receiver.kill()
    journal.close()
    return seen


def _look(place: Ground, journal: Journal) -> Broken:
    database = Database(place.url, pool_size=1)
    broken, _ = examine(database, place.folder / "files", journal.acknowledged)
    database.close()
    return broken


def _wait(condition: Callable[[], float]) -> None:
    until = time.monotonic() + 60
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("no Success came")
        time.sleep(0.01)


def main() -> int:
    """Run every outage; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--wait-seconds", type=float, default=2.0, help="of senders for a row")
    parser.add_argument("--outage", choices=sorted(OUTAGES), action="append")
    options = parser.parse_args()
    bad = False
    with Receivers() as receivers:
        for name in options.outage or OUTAGES:
            kind, outage = OUTAGES[name]
            with ground(kind) as place:
                how = {"seconds": options.seconds, "wait_seconds": options.wait_seconds}
                seen = suffer(receivers, place, outage, **how)
            print(f"{kind} {name} for {options.seconds:g} s: {seen.line()}", flush=True)
            bad = bad or seen.is_bad()
    return bad


if __name__ == "__main__":
    sys.exit(main())
