"""Starts workers in processes of their own, kills them, lets them freeze and thaw."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.data import REPOSITORY
from tests.support.waiting import wait_until
from tests.support.worker_process import WorkOrder


@dataclass(frozen=True)
class RunningWorker:
    """One worker process."""

    pid: int
    order: WorkOrder

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        wait_until(lambda: not self.is_alive(), what=f"end of process {self.pid}")

    def stop(self) -> None:
        """End it as an operator does, and wait until it is gone."""
        self._signal(signal.SIGTERM)
        wait_until(lambda: not self.is_alive(), 60, f"end of process {self.pid}")

    def freeze(self) -> None:
        """Stop it where it stands, as a hypervisor does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self._signal(signal.SIGCONT)

    def is_alive(self) -> bool:
        """Say whether the process is there."""
        return Path(f"/proc/{self.pid}").exists()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Workers:
    """Where workers come from; all of them end with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.worker_process"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, order: WorkOrder) -> RunningWorker:
        """Start a worker; it claims work within moments.

        Raises:
            AssertionError: a worker has failed; the message says why.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(order)) + "\n")
        said = json.loads(self._process.stdout.readline())
        assert "forked" in said, f"a worker failed: {said}"
        return RunningWorker(said["forked"], order)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
