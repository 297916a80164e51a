"""When a trace begins and ends: what is done inside is seen, or the test is told that it is not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.strace import traced

_THREADS = 300
_PROGRAM = f"""
import sys, threading
for _ in range({_THREADS}):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def traceable() -> Iterator[int]:
    """Give the number of a process of many threads that wait."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def tracer_of(task: Path) -> int:
    """Return the number of the process that traces a thread; 0 = none."""
    found = re.search(r"^TracerPid:\t(\d+)$", (task / "status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def end(killed: int, tracer: int) -> None:
    """Kill a process; return when its tracer has ended, but before anybody was told of that."""
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, tracer, os.WEXITED | os.WNOWAIT)


def test_every_thread_of_a_process_is_traced_before_anything_is_done(
    traceable: int, tmp_path: Path
) -> None:
    """Inside, no thread runs unseen, however many there are and however long each one takes."""
    with traced([traceable], tmp_path / "log", calls="write", follow=True):
        tracers = [tracer_of(task) for task in Path(f"/proc/{traceable}/task").iterdir()]
    assert len(tracers) == _THREADS + 1
    assert 0 not in tracers


def test_a_trace_that_ends_before_what_it_traces_is_no_trace(
    traceable: int, tmp_path: Path
) -> None:
    """What was done after the end of strace nobody has seen, and nothing can be said of it."""
    trace = traced([traceable], tmp_path / "log", calls="write")
    trace.__enter__()
    tracer = tracer_of(Path(f"/proc/{traceable}"))
    end(tracer, tracer)
    with pytest.raises(RuntimeError, match="ended before"):
        trace.__exit__(None, None, None)


def test_a_process_that_ends_while_it_is_traced_is_a_whole_trace(
    traceable: int, tmp_path: Path
) -> None:
    """A receiver that strace kills at a call ends its trace as well, and nothing is amiss."""
    with traced([traceable], tmp_path / "log", calls="write"):
        end(traceable, tracer_of(Path(f"/proc/{traceable}")))
