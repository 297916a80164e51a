"""More receiving processes on the same ports: started, watched, started again, stopped.

The first process is the one that was called. It alone tidies up after a crash, before the others
are there and whenever one of them has died.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from intu_fhir.observe.summed import Counted, OtherProcesses, counted_here
from intu_fhir.receive.ports import StopReport

_log = structlog.get_logger("intu_fhir.serve")
READY, COUNTED, STOPPED = "ready", "counted", "stopped"
"""What a line of another process begins with."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STEADY_SECONDS = 60.0
_MORE_SECONDS = 10.0


def receiver_name(host: str, number: int) -> str:
    """Return the name of a receiving process in staging; the same after every start."""
    return host[:60] if number == 1 else f"{host[:60]}#{number}"


@dataclass
class _Child:
    """One more process; ``thread`` watches it."""

    number: int
    process: subprocess.Popen[str] | None = None
    ready: threading.Event = field(default_factory=threading.Event)
    reports: list[StopReport] = field(default_factory=list)
    thread: threading.Thread | None = None


class Processes:
    """The receiving processes 2 to ``count``.

    Args:
        folder: the configuration that they read.
        ledger: descriptor of the shared count of associations.
        on_death: tidies up after the process with this number, before it is started again.
        others: takes what they count.
        log_level: what they log.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        ledger: int,
        on_death: Callable[[int], None],
        others: OtherProcesses,
        log_level: str = "INFO",
    ) -> None:
        self._folder, self._ledger, self._log_level = folder, ledger, log_level
        self._on_death, self._others = on_death, others
        self._stopping = threading.Event()
        self._children = [_Child(number) for number in range(2, count + 1)]

    def start(self, ready_seconds: float = 60.0) -> None:
        """Start all of them, and wait for them to listen; one that does not is tried again."""
        for child in self._children:
            name = f"receiver {child.number}"
            child.thread = threading.Thread(target=self._watch, args=(child,), name=name)
            child.thread.daemon = True
            child.thread.start()
        for child in self._children:
            if not child.ready.wait(ready_seconds):
                _log.warning("receiver_not_ready", worker=str(child.number))

    def stop(self, grace_seconds: float) -> list[StopReport]:
        """Stop all of them within the grace; return what each says was cut short."""
        self._stopping.set()
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        for child in self._children:
            self._join(child, grace_seconds + _MORE_SECONDS)
        return [report for child in self._children for report in child.reports]

    def pids(self) -> list[int]:
        """Return the process ids of those that run."""
        running = (child.process for child in self._children)
        return [one.pid for one in running if one is not None and one.poll() is None]

    def _join(self, child: _Child, seconds: float) -> None:
        assert child.thread is not None
        child.thread.join(seconds)
        if child.thread.is_alive() and child.process is not None:
            _log.error("receiver_killed", worker=str(child.number), reason="it did not stop")
            child.process.kill()
            child.thread.join(_MORE_SECONDS)

    def _watch(self, child: _Child) -> None:
        """Run a process again and again, with longer pauses while it keeps dying."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            begun = time.monotonic()
            code = self._ended(child)
            if self._stopping.is_set():
                return
            if time.monotonic() > begun + _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            _log.error("receiver_died", worker=str(child.number), status=code)
            self._on_death(child.number)
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _ended(self, child: _Child) -> str:
        """Run a process to its end; return its exit code, or why it could not be run."""
        try:
            return str(self._run(child))
        except OSError as error:  # no memory, or no process to spare, as after what killed it
            return errno.errorcode.get(error.errno or 0, type(error).__name__)

    def _run(self, child: _Child) -> int:
        """Run a process to its end and read what it says."""
        arguments = [str(self._folder), str(child.number), str(self._ledger), self._log_level]
        child.process = subprocess.Popen(  # noqa: S603  (ourselves, with our own arguments)
            [sys.executable, "-m", "intu_fhir.app.receiver_process", *arguments],
            stdin=subprocess.PIPE,  # its end tells the process that this one has died
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(self._ledger,),
        )
        with child.process as process:
            if self._stopping.is_set():
                process.terminate()
            assert process.stdout is not None
            for line in process.stdout:
                try:
                    self._hear(child, line.strip())
                except (ValueError, TypeError, LookupError):
                    # One that is killed while it writes leaves half a line.
                    _log.warning("receiver_not_understood", worker=str(child.number))
            self._others.ended(child.number)
            return process.wait()

    def _hear(self, child: _Child, line: str) -> None:
        """Take one line of what a process says; errors of any kind where it is cut off."""
        if line == READY:
            child.ready.set()
            return
        kind, _, said = line.partition(" ")
        if kind == COUNTED:
            self._others.hear(child.number, json.loads(said))
        else:
            child.reports = _reports(said)


def _reports(line: str) -> list[StopReport]:
    rows = json.loads(line)
    return [StopReport(**{**row, "stuck": tuple(row["stuck"])}) for row in rows]


def say_ready() -> None:
    """Tell the first process that this one listens."""
    os.write(1, f"{READY}\n".encode())


def say_reports(reports: Sequence[StopReport]) -> None:
    """Tell the first process what stopping this one cut short."""
    fields = StopReport.__slots__
    rows = [{name: getattr(report, name) for name in fields} for report in reports]
    _say(STOPPED, rows)


class Counting:
    """Tells the first process what this one has counted, where that has changed."""

    def __init__(self) -> None:
        self._last: list[Counted] = []

    def say(self) -> None:
        """Say it now."""
        numbers = counted_here()
        if numbers != self._last:
            _say(COUNTED, numbers)
        self._last = numbers


def _say(kind: str, what: object) -> None:
    left = f"{kind} {json.dumps(what)}\n".encode()
    while left:
        left = left[os.write(1, left) :]
