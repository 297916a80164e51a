"""A program that loads the product once and forks a process for each line of JSON it reads.

A thousand restarts take minutes so. What it prints, one JSON object a line, begins with ``forked``
and the process id.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1


def fork_for_each_line(run: Callable[[dict[str, Any]], None]) -> None:
    """Fork a process for each order on standard input; it ends when ``run`` returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)  # until its pid was told, so that what it says comes after
            os.close(reader)
            _become(run, json.loads(line))
        say(forked=pid)
        os.close(writer)
        os.close(reader)


def _become(run: Callable[[dict[str, Any]], None], order: dict[str, Any]) -> None:
    """Run in a forked child, which never goes back into ``main``."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        run(order)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  (a forked child never goes back into main)
        say(failed=f"{type(error).__name__}: {error}")
    finally:
        os._exit(1)


def say(**what: Any) -> None:
    """Print one JSON object."""
    os.write(1, json.dumps(what).encode() + b"\n")


def log_to(path: str) -> None:
    """Let the log of this process go to a file."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
