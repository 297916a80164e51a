"""K-05: each sync, write, rename, folder and open of a transfer fails once, or from then on.

``python -m tests.reliability.disk_faults`` takes every point; the tests take some of them.
strace answers the receiver's system calls with EIO, ENOSPC or EMFILE. No object may be answered
Success that is not on disk, every object must be answered, and once the fault is gone the same
process must take everything and leave no file that no row speaks of.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.crash_points import (
    ASIDE,
    ASSOCIATION,
    COMMIT,
    Areas,
    Run,
    make_areas,
    scenario,
    thread_of,
)
from tests.reliability.sync_order import files_by_uid
from tests.support.promises import Broken, examine
from tests.support.receivers import Receivers, RunningReceiver
from tests.support.senders import SUCCESS, Sample, Sender
from tests.support.strace import traced
from tests.support.sync_log import CALLS, TEXT_BYTES, judge, read_calls

FAULTS = (
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("write", "ENOSPC"),
    ("pwrite64", "ENOSPC"),
    ("rename", "ENOSPC"),
    ("mkdir", "ENOSPC"),
    ("unlink", "EIO"),
    ("unlink", "EROFS"),
    ("openat", "EMFILE"),
)
_ROLES = (ASSOCIATION, COMMIT, ASIDE)
_RETURN_SECONDS = 5.0


@dataclass(frozen=True)
class Fault:
    """The ``number``-th ``call`` of a thread fails; with ``lasting`` all later ones as well."""

    role: str
    call: str
    error: str
    number: int
    lasting: bool

    def injection(self) -> str:
        """Return it in strace's words."""
        return f"{self.call}:error={self.error}:when={self.number}{'+' if self.lasting else ''}"


@dataclass
class Found:
    """What the faults showed.

    Args:
        hit: how many of the faults befell a call.
        unseen: where the logs show fewer answers of Success than came, so that they prove nothing.
    """

    faults: int = 0
    hit: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    false_success: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    broken: Broken = field(default_factory=Broken)

    def is_bad(self) -> bool:
        """Say whether a promise broke."""
        return bool(self.broken) or self.bad() > 0

    def bad(self) -> int:
        """Return how often a promise broke, or could not be judged."""
        return sum(map(len, (self.false_success, self.unseen, self.unanswered, self.slow)))

    def line(self) -> str:
        """Return it in one line."""
        broken = {name: len(what) for name, what in vars(self.broken).items()}
        return (
            f"{self.faults} faults, {self.hit} of them hit, "
            f"answers {dict(sorted(self.statuses.items()))}, "
            f"false success {len(self.false_success)}, not judged {len(self.unseen)}, "
            f"unanswered {len(self.unanswered)}, "
            f"not taken {_RETURN_SECONDS:g} s after the fault {len(self.slow)}, broken {broken}"
        )


def faults(areas: Areas) -> list[Fault]:
    """Return every fault, as undisturbed runs show the calls."""
    found = []
    for role in _ROLES:
        run = areas.fresh()
        assert run.transfer(role, CALLS, [])
        counts = Counter(call.name for call in read_calls(run.place / "trace"))
        run.done()
        found += [
            Fault(role, call, error, number, lasting)
            for call, error in FAULTS
            for number in range(1, counts[call] + 1)
            for lasting in (False, True)
        ]
    return found


def wait_for_room_in_this_minute() -> None:
    """A folder that is new opens more, so that the number of an opening differs."""
    if (second := time.time() % 60) > 45:
        time.sleep(60.5 - second)


def provoke(areas: Areas, chosen: list[Fault], keep: Path | None = None) -> Found:
    """Let each fault happen in a run of its own.

    Args:
        keep: a folder for what is left of a run that is bad, its logs and its staging area.
    """
    found = Found()
    for fault in chosen:
        run = areas.fresh()
        before = found.bad()
        broken = _provoke(areas.receivers, run, fault, found)
        found.faults += 1
        found.broken.add(broken)
        if broken or found.bad() > before:
            print(f"{fault}: {found.line()} {broken}", *found.false_success[-1:], file=sys.stderr)
            if keep is not None:
                kept = shutil.copytree(run.place, keep / f"{found.faults}")
                print(f"Its logs `faulty` and `other` are kept in {kept}", file=sys.stderr)
        run.done()
    return found


def _provoke(receivers: Receivers, run: Run, fault: Fault, found: Found) -> Broken:
    receiver = receivers.start(run.order())
    sender = Sender(receiver.port, run.journal)
    assert sender.associate()
    thread = thread_of(receiver, fault.role)
    others = [thread_of(receiver, role) for role in _ROLES if role != fault.role]
    logs = [run.place / "faulty", run.place / "other"]
    with (
        traced([thread], logs[0], inject=[fault.injection()], calls=CALLS, text_bytes=TEXT_BYTES),
        traced(others, logs[1], calls=CALLS, text_bytes=TEXT_BYTES),
    ):
        statuses = run.send(sender)
    sender.close()
    found.statuses.update("none" if one is None else f"{one:04X}" for one in statuses)
    found.unanswered += [f"{fault}" for one in statuses if one is None]
    found.hit += any(call.is_injected for call in read_calls(logs[0]))
    verdict = judge(logs, files_by_uid(run.order()))
    found.false_success += [f"{fault}: {what}" for what in verdict.early]
    if verdict.answers < statuses.count(SUCCESS):
        found.unseen.append(f"{fault}")
    _send_again(receiver, run, fault, found)
    broken, _ = examine(run.database, run.files, run.journal.acknowledged)
    receiver.kill()
    recovered, _ = run.recover()
    broken.add(recovered)
    return broken


def _send_again(receiver: RunningReceiver, run: Run, fault: Fault, found: Found) -> None:
    """Send everything to the same process until it takes it."""
    until = time.monotonic() + _RETURN_SECONDS
    left: list[Sample] = [one for one in scenario() if one.sha256 != scenario()[3].sha256]
    while left and time.monotonic() < until:
        sender = Sender(receiver.port, run.journal)
        if sender.associate():
            left = sender.send_all(left)
            sender.release()
        sender.close()
        if left:
            time.sleep(0.05)
    if left:
        found.slow.append(str(fault))


def main() -> int:
    """Provoke; exit 1 if a promise broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th fault")
    options = parser.parse_args()
    begun = time.monotonic()
    keep = Path(tempfile.gettempdir()) / time.strftime("disk-faults-%Y%m%d-%H%M%S")
    with Receivers() as receivers, tempfile.TemporaryDirectory() as folder:
        areas = make_areas(receivers, Path(folder))
        found = provoke(areas, faults(areas)[:: options.every], keep)
    print(f"{found.line()}, {time.monotonic() - begun:.0f} s")
    return found.is_bad()


if __name__ == "__main__":
    sys.exit(main())
