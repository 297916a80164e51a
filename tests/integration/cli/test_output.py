"""Where output goes: files that cannot be written, terminals with few letters, and nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from intu_fhir.cli.main import run

PROGRAM = (sys.executable, "-m", "intu_fhir.cli")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Give the configuration of a site with an empty database."""
    (tmp_path / "intu.yaml").write_text("database: sqlite:///staging.db\n")
    assert run(["db", "upgrade", "--config", str(tmp_path)]) == 0
    return tmp_path


def test_a_file_that_cannot_be_written(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What the system refuses is told with its reason and file, and is no fault to report."""
    file = site / "no-such-folder" / "rows.csv"
    arguments = ["sql", "SELECT 1", "--config", str(site), "--output", str(file)]
    assert run([*arguments, "--format", "csv"]) == 1
    assert capfd.readouterr().err == f"intu-fhir: No such file or directory: {file}\n"
    assert run(["--debug", *arguments, "--format", "csv"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_disk_that_is_full(site: Path) -> None:
    """Output that the disk does not take is told as such."""
    with Path("/dev/full").open("w") as full:
        arguments = (*PROGRAM, "sql", "SELECT 1", "--config", str(site))
        done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"intu-fhir: No space left on device\n"


def test_letters_that_a_terminal_lacks(site: Path) -> None:
    """A name in letters that the locale does not have is shown with escapes, whatever it is."""
    arguments = (*PROGRAM, "sql", "SELECT 'Müller' AS name", "--config", str(site))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(arguments, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split() == [b"name", rb"M\xfcller"]


def test_no_output_at_all(site: Path) -> None:
    """A command whose output is closed does its work and ends as it would."""
    command = f"{' '.join(PROGRAM)} studies --config {site} >&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
