"""The units of systemd are ones that systemd takes, and keep the program in its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from intu_fhir.settings.receiver import Receiver
from tests.docs.pages import REPOSITORY
from tests.support.programs import require

UNITS = sorted((REPOSITORY / "deploy" / "systemd").iterdir())
MORE_SECONDS = 20
"""The page may take 10 to end, workers 2 beyond the grace, and the process has to end."""

INSTALLED = "/opt/intu-fhir/bin/intu-fhir"


def _installed(folder: Path) -> list[Path]:
    """Write the units as they are for a program that stands where the one under test does."""
    program = Path(sys.executable).parent / "intu-fhir"
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        (folder / unit.name).write_text(text.replace(INSTALLED, str(program)), encoding="utf-8")
    return sorted(folder.iterdir())


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("systemd-analyze"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about any of them."""
    done = _analyze("verify", *map(str, _installed(tmp_path)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_is_shut_in(tmp_path: Path) -> None:
    """`systemd-analyze security` rates the exposure of the service below 2 of 10."""
    unit = next(unit for unit in _installed(tmp_path) if unit.name == "intu-fhir.service")
    done = _analyze("security", "--offline=true", "--threshold=20", str(unit))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_says_where_it_goes(unit: Path) -> None:
    """The first line of each names the file that it is meant to be."""
    first = unit.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(f"# /etc/systemd/system/{unit.name}")


def test_services_wait_for_the_time() -> None:
    """What judges by times begins once the clock was set, on a machine that tells."""
    for unit in (unit for unit in UNITS if unit.suffix == ".service"):
        lines = unit.read_text(encoding="utf-8").splitlines()
        for key in ("Wants=", "After="):
            (names,) = (line.removeprefix(key).split() for line in lines if line.startswith(key))
            assert "time-sync.target" in names


def test_it_stops_later_than_the_receiver() -> None:
    """Systemd waits longer than the page takes to end, and then what is in hand."""
    text = (REPOSITORY / "deploy" / "systemd" / "intu-fhir.service").read_text(encoding="utf-8")
    stop = next(line for line in text.splitlines() if line.startswith("TimeoutStopSec="))
    assert int(stop.partition("=")[2]) >= Receiver().shutdown_grace_seconds + MORE_SECONDS
