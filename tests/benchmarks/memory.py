"""Memory of a receiver while large objects arrive, and its speed once many are staged."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.objects import LARGE, data_set
from tests.benchmarks.receivers import CALLED, Receiver
from tests.benchmarks.sender import Job, rate

ASSOCIATIONS = 4


def peak_megabytes(receiver: Receiver) -> tuple[float, float]:
    """Return a receiver's memory before and its peak after four large objects at once, in MB."""
    with receiver.running() as running:
        before = _status(running.pid, "VmRSS")
        data_set(LARGE)  # made before the senders share it
        rate(Job(running.port, CALLED, LARGE, ASSOCIATIONS, 1, 1))
        return before, _status(running.pid, "VmHWM")


def object_megabytes() -> float:
    """Return the size of one large object in MB."""
    return len(data_set(LARGE)) / 1e6


def _status(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(field))
    return int(found.split()[1]) * 1024 / 1e6
