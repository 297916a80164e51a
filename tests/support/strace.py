"""Watches, kills and hinders a process at exact system calls, by strace."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.processes import is_running
from tests.support.programs import require

_ATTACH_SECONDS = 20.0
_ATTACHED = re.compile(r"Process (\d+) attached")


@contextlib.contextmanager
def traced(
    tasks: Sequence[int],
    log: Path,
    *,
    calls: str,
    inject: Sequence[str] = (),
    follow: bool = False,
    text_bytes: int = 0,
) -> Iterator[None]:
    """Trace threads while inside.

    Args:
        tasks: thread ids; with ``follow`` all threads of the process and its children as well.
        calls: names of system calls, separated by commas.
        inject: what strace shall do to them, such as ``fsync:error=EIO:when=2``.
        text_bytes: how much of the data that is written goes into the log.

    Raises:
        RuntimeError: not all that they did is in the log.
    """
    command = [require("strace"), "-y", "-ttt", "-T", "-o", str(log), "-s", str(text_bytes)]
    command += ["-e", f"trace={calls}", "-e", "signal=none"]
    command += [part for one in inject for part in ("-e", f"inject={one}")]
    command += ["-f"] if follow else []
    command += [part for task in tasks for part in ("-p", str(task))]
    errors = log.with_suffix(".err")
    with errors.open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=err)
    try:
        _wait_until_attached(process, tasks, errors)
        yield
        if process.poll() is not None and any(map(is_running, tasks)):
            raise RuntimeError(f"strace ended before what it traced: {errors.read_text()[-500:]}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_attached(
    process: subprocess.Popen[bytes], tasks: Sequence[int], errors: Path
) -> None:
    """Return when strace has said of each task that it and its threads will stop for it.

    That a thread has a tracer says less: it runs on until it is told to stop, and others of its
    process are still without one. A task that is gone is for the caller to find out.
    """
    deadline = time.monotonic() + _ATTACH_SECONDS
    while any(map(is_running, set(tasks) - _attached(errors))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"strace did not attach: {errors.read_text()[-500:]}")
        time.sleep(0.002)


def _attached(errors: Path) -> set[int]:
    return set(map(int, _ATTACHED.findall(errors.read_text())))
