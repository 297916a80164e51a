"""Small images from DCMTK's own senders, which leave Nagle's algorithm on."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.objects import SMALL, part10
from tests.benchmarks.rates import Rates
from tests.benchmarks.receivers import CALLED, Receiver
from tests.support.programs import find

SENDERS = ("storescu", "dcmsend")
_FEW, _ENOUGH_SECONDS, _MANY = 30, 1.0, 600
_TIMEOUT_SECONDS = 120.0


def measure_stock_senders(
    receivers: Sequence[Receiver], *, rounds: int, say: Callable[[str], None]
) -> Rates:
    """Measure what each sender reaches on one association, connection and file reading included.

    Thirty images show a receiver that waits for acknowledgements; where they take less than a
    second, six hundred are sent instead.
    """
    rates = Rates()
    for number in range(rounds):
        for sender in SENDERS:
            for receiver in receivers:
                found = _rate(receiver, sender, number)
                rates.by_place[receiver.name, sender].append(found)
                say(f"{receiver.name}: {sender}: {found:.0f}/s")
    return rates


def _rate(receiver: Receiver, sender: str, number: int) -> float:
    with receiver.running() as running:
        seconds = _send(sender, running.port, _FEW, 2 * number)
        if seconds > _ENOUGH_SECONDS:
            return _FEW / seconds
        return _MANY / _send(sender, running.port, _MANY, 2 * number + 1)


def _send(sender: str, port: int, count: int, study: int) -> float:
    """Send images that are in a folder; return the seconds it took."""
    with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
        for instance in range(count):
            path = Path(folder) / f"{instance}.dcm"
            path.write_bytes(part10(SMALL, study, study * 10_000 + instance))
        command = [str(find(sender)), "-aec", CALLED, "127.0.0.1", str(port), "+sd", folder]
        begun = time.monotonic()
        subprocess.run(command, check=True, timeout=_TIMEOUT_SECONDS, capture_output=True)
        return time.monotonic() - begun
