"""``python -m tools.lanes``: run all tests, in two processes side by side, then some alone.

Most tests keep one processor busy and wait for another program now and then, so two processes
take little more than half the time of one. What says how long something takes, or kills and
freezes processes at chosen moments (marker ``alone``), is run when both of them have ended.

What a process tells of its progress comes out as it is told, behind the process's name; what it
says of failures is held back until its end, so that nothing is mixed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
FIRST = (
    "tests/integration/aggregate",
    "tests/integration/app",
    "tests/integration/cli",
    "tests/integration/db",
    "tests/integration/deliver",
    "tests/integration/demo",
    "tests/integration/pipeline",
    "tests/integration/web",
)
"""Folders of one of the two processes; the other has all that is not below them.

They take half of the time. A folder stays whole, since tests of one share what is dear to start.
"""

_ALONE, _BESIDE = ("-m", "alone"), ("-m", "not alone")


@dataclass
class Lane:
    """A process that runs tests, one after the other.

    Args:
        name: what its lines begin with.
        arguments: for pytest.
        status: of the process; that of a failure until it has ended.
        summary: what it says last.
    """

    name: str
    arguments: Sequence[str]
    status: int = field(default=1, init=False)
    summary: str = field(default="has not ended", init=False)

    def run(self, printing: threading.Lock) -> None:
        """Run it to its end."""
        held: list[str] = []
        with subprocess.Popen(  # noqa: S603  (our own arguments)
            [sys.executable, "-m", "pytest", *self.arguments],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.summary = line.strip("= \n") or self.summary
                if held or _begins_report(line):
                    held.append(line)
                else:
                    with printing:
                        _say(f"{self.name} | {line}")
        self.status = process.returncode
        with printing:
            _say(f"\n{self.name}:\n{''.join(held)}\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _begins_report(line: str) -> bool:
    """Tell a heading after the tests from the one before them."""
    return line.startswith("=====") and "test session starts" not in line


def lanes() -> tuple[list[Lane], list[Lane]]:
    """Return what runs side by side, and what runs when that has ended."""
    others = [f"--ignore={folder}" for folder in FIRST]
    beside = [Lane("first", [*_BESIDE, *FIRST]), Lane("second", [*_BESIDE, *others])]
    return beside, [Lane("alone", _ALONE)]


def run(*groups: Sequence[Lane]) -> int:
    """Run groups in turn, the lanes of each at once; return 1 where any of them failed."""
    printing = threading.Lock()
    for group in groups:
        threads = [threading.Thread(target=lane.run, args=(printing,)) for lane in group]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    every = [lane for group in groups for lane in group]
    for lane in every:
        _say(f"{lane.name}: {lane.summary}\n")
    return 1 if any(lane.status for lane in every) else 0


if __name__ == "__main__":
    sys.exit(run(*lanes()))
