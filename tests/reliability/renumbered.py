"""Faults for receivers amid whose threads the numbers of processes begin anew.

The system does that after its highest number, so the younger of two threads may have the lower one.
To be run in a PID namespace of its own, as ``tests.reliability.test_disk_faults`` does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.reliability.crash_points import COMMIT, make_areas
from tests.reliability.disk_faults import Fault, provoke
from tests.support.receiver_process import Order
from tests.support.receivers import Receivers, RunningReceiver

_KERNEL = Path("/proc/sys/kernel")
_THREADS = 7
"""Those of a receiver with one association."""


class _Renumbered(Receivers):
    """Starts receivers ``before`` of whose threads have the highest numbers, others the lowest."""

    before = 0

    def fork(self, order: Order) -> RunningReceiver:
        """Begin to start such a one."""
        highest = int((_KERNEL / "pid_max").read_text()) - 1
        (_KERNEL / "ns_last_pid").write_text(f"{highest - self.before}")
        return super().fork(order)


def main() -> int:
    """Provoke one fault for each place of the beginning; exit 1 if one missed or broke something.

    All but the first object are answered Success, so each thread has to be seen.
    """
    is_bad = False
    with _Renumbered() as receivers, tempfile.TemporaryDirectory() as folder:
        areas = make_areas(receivers, Path(folder))
        for receivers.before in range(1, _THREADS):
            found = provoke(areas, [Fault(COMMIT, "pwrite64", "ENOSPC", 1, lasting=False)])
            print(f"{receivers.before} of {_THREADS} threads: {found.line()}")
            is_bad |= found.is_bad() or found.hit < found.faults
    return is_bad


if __name__ == "__main__":
    sys.exit(main())
