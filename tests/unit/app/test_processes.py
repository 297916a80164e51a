"""What the first process makes of what the others say."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from intu_fhir.app import processes
from intu_fhir.app.processes import Processes
from intu_fhir.observe.summed import OtherProcesses
from tests.support.waiting import wait_until

_HALF = r"print('ready'); print('counted [[\"counter\", \"intu', end='', flush=True)"


def test_half_a_line_of_a_dying_process_is_its_death_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that is killed while it writes is tidied up after and started again."""
    begin = subprocess.Popen
    commands: list[list[str]] = []

    def instead(command: list[str], **options: Any) -> Any:
        commands.append(command)
        options.pop("pass_fds")
        return begin([sys.executable, "-c", _HALF], **options)

    monkeypatch.setattr(processes.subprocess, "Popen", instead)
    monkeypatch.setattr(processes, "_FIRST_PAUSE", 0.01)
    died, twice = [], threading.Event()

    def on_death(number: int) -> None:
        died.append(number)
        if len(died) > 1:
            twice.set()

    more = Processes(tmp_path, 2, 0, on_death, OtherProcesses())
    more.start()
    assert twice.wait(20)
    more.stop(5)
    assert set(died) == {2}
    assert len(commands) >= 2


def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where memory or processes are lacking for a while, a receiver is started after that."""
    deaths: list[int] = []
    monkeypatch.setattr(processes.sys, "executable", str(tmp_path / "nowhere"))
    monkeypatch.setattr(processes, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "_LONGEST_PAUSE", 0.01)
    with capture_logs() as logs, (tmp_path / "ledger").open("wb") as ledger:
        more = Processes(tmp_path, 2, ledger.fileno(), deaths.append, OtherProcesses())
        more.start(ready_seconds=0.1)
        wait_until(lambda: len(deaths) >= 2)
        more.stop(5)
    assert {line.get("status") for line in logs if line["event"] == "receiver_died"} == {"ENOENT"}
