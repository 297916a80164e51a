"""K-01: the receiver is killed just before each of its system calls, one run for each.

``python -m tests.reliability.crash_points`` sweeps every call; the tests take some of them.
A transfer of new, repeated, conflicting and restored objects runs while strace waits for the N-th
call of one name in one thread and kills the process there. A new receiver then recovers, and what
was answered Success must be there. A start after a crash is swept in the same way.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances
from tests.support.databases import sqlite_url
from tests.support.mutants import CRASH_MUTANTS, LATE_RESTORE
from tests.support.promises import Broken, examine
from tests.support.receiver_process import Order
from tests.support.receivers import ReceiverFailed, Receivers, RunningReceiver
from tests.support.senders import SUCCESS, Journal, Sample, Samples, Sender
from tests.support.strace import traced
from tests.support.sync_log import read_calls

ASSOCIATION, COMMIT, ASIDE, START = "association", "commit", "aside", "start"
ROLES = (ASSOCIATION, COMMIT, ASIDE, START)
DISK_CALLS = frozenset(
    {
        "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "mkdir", "sendto",
        "unlink", "ftruncate", "flock", "close",
    }
)  # fmt: skip
IDLE_CALLS = frozenset(
    {
        "futex", "poll", "ppoll", "select", "pselect6", "recvfrom", "restart_syscall", "madvise",
        "clock_nanosleep", "brk", "sched_yield", "exit", "execve", "rt_sigreturn", "pause",
    }
)  # fmt: skip
"""Calls that wait or touch memory alone; how many there are differs from run to run."""

SAMPLES = Samples(40_000)


@dataclass(frozen=True)
class Point:
    """Just before the ``number``-th ``call`` of a thread."""

    role: str
    call: str
    number: int


@dataclass
class Sweep:
    """What a sweep found."""

    points: int = 0
    fired: int = 0
    acknowledged: int = 0
    removed: int = 0
    broken: Broken = field(default_factory=Broken)


@dataclass
class Areas:
    """An empty staging area that runs are made on.

    Args:
        template: a database at head without rows.
    """

    receivers: Receivers
    folder: Path
    template: Path
    mutant: str = ""
    crashed: Path | None = None
    acknowledged: dict[str, str] = field(default_factory=dict)

    def fresh(self) -> Run:
        """Return an untouched area."""
        return self._run(lambda place: shutil.copyfile(self.template, place / "staging.db"))

    def after_crash(self) -> Run:
        """Return an area as a crash left it, with files for recovery to remove."""
        if self.crashed is None:
            run = self.fresh()
            run.crash_with_leftovers()
            run.close()
            self.crashed = run.place
            self.acknowledged = dict(run.journal.acknowledged)
        crashed = self.crashed
        run = self._run(lambda place: shutil.copytree(crashed, place, dirs_exist_ok=True))
        run.journal.acknowledged.update(self.acknowledged)
        return run

    def _run(self, fill: Callable[[Path], object]) -> Run:
        place = Path(tempfile.mkdtemp(dir=self.folder))
        fill(place)
        return Run(self.receivers, place, self.mutant)


def scenario() -> list[Sample]:
    """Two studies; two objects come twice, one of them once more with other bytes.

    ``Run.send`` spoils what is stored of the other one before it comes again.
    """
    first, second, conflicting = SAMPLES.make(1, 1), SAMPLES.make(1, 2), SAMPLES.make(1, 1, pixel=9)
    return [first, second, first, conflicting, second, SAMPLES.make(2, 1)]


_SPOILED_BEFORE = 4


def thread_of(receiver: RunningReceiver, role: str) -> int:
    """Return the thread of a role."""
    threads = {COMMIT: receiver.committing_thread, ASIDE: receiver.aside_thread}
    return threads.get(role) or receiver.association_thread


class Run:
    """One area, one crash, one recovery."""

    def __init__(self, receivers: Receivers, place: Path, mutant: str) -> None:
        self.place, self._receivers = place, receivers
        self.journal = Journal(place / "journal")
        self.files = place / "files"
        self._url = sqlite_url(place / "staging.db")
        self.database = Database(self._url, pool_size=1)
        self._mutant = mutant
        self._spoiled: set[str] = set()

    def order(self, *, held: bool = False) -> Order:
        """Return what the receiver shall be."""
        log = str(self.place / "log")
        return Order(self._url, str(self.files), log, mutant=self._mutant, held=held)

    def transfer(self, role: str, calls: str, inject: list[str]) -> bool:
        """Send the scenario while a thread is traced; say whether the receiver survived it."""
        receiver = self._receivers.start(self.order())
        sender = Sender(receiver.port, self.journal)
        assert sender.associate()
        thread = thread_of(receiver, role)
        with traced([thread], self.place / "trace", calls=calls, inject=inject):
            missing = [status for status in self.send(sender) if status != SUCCESS]
            released = sender.release()
            if released:
                _wait_for_end_of(receiver, thread if role == ASSOCIATION else 0)
            survived = receiver.is_alive() and released and len(missing) <= 1
        sender.close()
        receiver.kill()
        return survived

    def send(self, sender: Sender) -> list[int | None]:
        """Send the scenario, up to what has no answer; return the statuses."""
        statuses: list[int | None] = []
        for number, sample in enumerate(scenario()):
            if number == _SPOILED_BEFORE:
                self._spoil(sample.uid)
            statuses.append(sender.send(sample))
            if statuses[-1] is None:
                break
        return statuses

    def _spoil(self, uid: str) -> None:
        """Damage what is stored of an object; that it was acknowledged before says nothing more."""
        with self.database.read() as connection:
            named = sa.select(instances.c.file).where(instances.c.sop_instance_uid == uid)
            file = connection.execute(named).scalar()
        if file is not None:
            with (self.files / file).open("r+b") as stored:
                stored.seek(-1, os.SEEK_END)
                stored.write(b"\xff")
            self._spoiled.add(file)
            self.journal.acknowledged.pop(uid, None)

    def start(self, calls: str, inject: list[str]) -> bool:
        """Start a receiver that is traced from its first step; say whether it came to listen."""
        receiver = self._receivers.fork(self.order(held=True))
        with traced([receiver.pid], self.place / "trace", calls=calls, inject=inject, follow=True):
            try:
                self._receivers.ready(receiver)
            except ReceiverFailed:
                return False
            finally:
                receiver.kill()
        return True

    def crash_with_leftovers(self) -> None:
        """Leave a row that was acknowledged, a file without a row and an unfinished one."""
        receiver = self._receivers.start(self.order())
        senders = [Sender(receiver.port, self.journal) for _ in range(2)]
        assert all(sender.associate() for sender in senders)
        assert senders[0].send(SAMPLES.make(1, 1)) == 0
        kill = ["pwrite64:signal=KILL:when=1"]
        thread = receiver.committing_thread
        with traced([thread], self.place / "trace", calls="pwrite64", inject=kill):
            senders[1].begin(SAMPLES.make(1, 3))
            senders[0].send(SAMPLES.make(1, 2))
            receiver.wait()
        for sender in senders:
            sender.close()

    def recover(self) -> tuple[Broken, int]:
        """Recover, look, send everything again, look again."""
        try:
            receiver = self._receivers.start(self.order())
        except ReceiverFailed as error:
            said = (self.place / "log").read_text(errors="replace")[-3_000:]
            raise AssertionError(f"no restart: {error}; its log ends:\n{said}") from error
        try:
            broken, _ = examine(
                self.database, self.files, self.journal.acknowledged, spoiled=self._spoiled
            )
            sender = Sender(receiver.port, self.journal)
            assert sender.associate()
            conflicting = scenario()[3].sha256
            refused = [s.uid for s in sender.send_all(scenario()) if s.sha256 != conflicting]
            broken.damage += [f"not taken after recovery: {uid}" for uid in refused]
            sender.release()
            broken.add(examine(self.database, self.files, self.journal.acknowledged)[0])
        finally:
            receiver.kill()
        return broken, receiver.removed

    def close(self) -> None:
        """Let go of the area, and leave it as it is."""
        self.journal.close()
        self.database.close()

    def done(self) -> None:
        """Forget the area."""
        self.close()
        shutil.rmtree(self.place, ignore_errors=True)


def _wait_for_end_of(receiver: RunningReceiver, thread: int) -> None:
    """Wait until an association's thread has done what follows the release."""
    deadline = time.monotonic() + 5
    while receiver.is_alive() and thread in receiver.threads() and time.monotonic() < deadline:
        time.sleep(0.005)


def points(areas: Areas, role: str, calls: frozenset[str] | None) -> list[Point]:
    """Return every point of a role, as one undisturbed run shows them.

    Args:
        calls: only these; ``None`` for every call that is not idle.
    """
    run = areas.after_crash() if role == START else areas.fresh()
    survived = run.start("all", []) if role == START else run.transfer(role, "all", [])
    assert survived, "the undisturbed run failed"
    counts = Counter((call.task, call.name) for call in read_calls(run.place / "trace"))
    run.done()
    most: Counter[str] = Counter()
    for (_, call), count in counts.items():
        if call in calls if calls is not None else call not in IDLE_CALLS:
            most[call] = max(most[call], count)
    return [Point(role, c, n) for c, count in sorted(most.items()) for n in range(1, count + 1)]


def sweep(areas: Areas, chosen: list[Point]) -> Sweep:
    """Crash at each point, recover, and return what was found."""
    so_far = Sweep()
    for point in chosen:
        run = areas.after_crash() if point.role == START else areas.fresh()
        inject = [f"{point.call}:signal=KILL:when={point.number}"]
        if point.role == START:
            survived = run.start(point.call, inject)
        else:
            survived = run.transfer(point.role, point.call, inject)
        so_far.acknowledged += len(run.journal.acknowledged)
        try:
            broken, removed = run.recover()
        except AssertionError as error:
            error.add_note(f"after {point}")
            raise
        so_far.points += 1
        so_far.fired += not survived
        so_far.removed += removed
        so_far.broken.add(broken)
        if broken:
            print(f"{point}: {broken}", file=sys.stderr)
        run.done()
    return so_far


def make_areas(receivers: Receivers, folder: Path, mutant: str = "") -> Areas:
    """Return areas with a new template."""
    template = folder / "template.db"
    if not template.exists():
        migrate.upgrade(sqlite_url(template))
    return Areas(receivers, folder, template, mutant)


def main() -> int:
    """Sweep; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--disk-only", action="store_true", help="only calls that touch the disk")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th point")
    parser.add_argument("--mutant", choices=(*CRASH_MUTANTS, LATE_RESTORE), default="")
    parser.add_argument("--role", choices=ROLES, action="append")
    options = parser.parse_args()
    bad = False
    with Receivers() as receivers, tempfile.TemporaryDirectory() as folder:
        areas = make_areas(receivers, Path(folder), options.mutant)
        for role in options.role or ROLES:
            begun = time.monotonic()
            calls = DISK_CALLS if options.disk_only else None
            chosen = points(areas, role, calls)[:: options.every]
            found = sweep(areas, chosen)
            broken = {name: len(what) for name, what in vars(found.broken).items()}
            print(
                f"{role}: {found.fired} of {found.points} points fired, "
                f"{found.acknowledged} acknowledged, {found.removed} leftovers removed, "
                f"broken {broken}, {time.monotonic() - begun:.0f} s",
                flush=True,
            )
            bad = bad or bool(found.broken)
    return bad


if __name__ == "__main__":
    sys.exit(main())
