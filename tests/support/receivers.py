"""Starts receivers in processes of their own, kills them and starts them again."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.data import REPOSITORY
from tests.support.processes import is_running
from tests.support.receiver_process import Order

_START_SECONDS = 30.0
_END_SECONDS = 30.0


class ReceiverFailed(Exception):
    """A receiver did not start."""


@dataclass
class RunningReceiver:
    """One receiver process.

    Args:
        removed: files that recovery removed at its start.
        seconds: what its start took, recovery included.
        committing_thread: the one that stores rows.
        aside_thread: the one that stores what goes beside the rows: quarantine, restored files.
        first_threads: those that it had when it came to listen.
    """

    pid: int
    port: int = 0
    removed: int = 0
    seconds: float = 0.0
    committing_thread: int = 0
    aside_thread: int = 0
    first_threads: frozenset[int] = frozenset()

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.wait()

    def is_alive(self) -> bool:
        """Say whether the process is there."""
        return is_running(self.pid)

    def wait(self) -> None:
        """Return when the process is gone with all its threads, and its locks with it."""
        deadline = time.monotonic() + _END_SECONDS
        while Path(f"/proc/{self.pid}").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} does not end")
            time.sleep(0.001)

    def threads(self) -> set[int]:
        """Return its threads; their numbers say nothing of their order, as they begin anew."""
        return {int(task.name) for task in Path(f"/proc/{self.pid}/task").iterdir()}

    @property
    def association_thread(self) -> int:
        """The thread of its only association."""
        (thread,) = self.threads() - self.first_threads
        return thread


class Receivers:
    """Where receivers come from; all of them end with it."""

    def __init__(self) -> None:
        self._heard = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.receiver_process"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def start(self, order: Order) -> RunningReceiver:
        """Start a receiver and return once it listens."""
        return self.ready(self.fork(order))

    def fork(self, order: Order) -> RunningReceiver:
        """Begin to start a receiver."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(order)).encode() + b"\n")
        return RunningReceiver(self._said()["forked"])

    def ready(self, receiver: RunningReceiver) -> RunningReceiver:
        """Wait until the receiver that was begun last listens.

        Raises:
            ReceiverFailed: it does not; the message says why.
        """
        said = self._said(receiver)
        if "failed" in said:
            raise ReceiverFailed(said["failed"])
        receiver.port, receiver.removed = said["port"], said["removed"]
        receiver.seconds = said["seconds"]
        receiver.committing_thread = said["committing_thread"]
        receiver.aside_thread = said["aside_thread"]
        receiver.first_threads = frozenset(said["threads"])
        return receiver

    def _said(self, receiver: RunningReceiver | None = None) -> dict[str, Any]:
        """Return the next thing that was said; a receiver that dies first has failed."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + _START_SECONDS
        while b"\n" not in self._heard:
            was_alive = receiver is None or receiver.is_alive()
            if select.select([self._process.stdout], [], [], 0.01)[0]:
                self._heard += os.read(self._process.stdout.fileno(), 4_096)
            elif not was_alive:
                raise ReceiverFailed("killed while it started")
            elif time.monotonic() > deadline:
                self._fail(receiver)
        line, _, self._heard = self._heard.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    @staticmethod
    def _fail(receiver: RunningReceiver | None) -> None:
        if receiver is not None:
            os.kill(receiver.pid, signal.SIGUSR1)  # its stacks go to its log
            time.sleep(0.5)
        raise ReceiverFailed("it says nothing")
