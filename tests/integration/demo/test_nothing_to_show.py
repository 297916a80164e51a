"""A demonstration without anything to show."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.cli.main import run


def test_an_earlier_demo_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the paths hold no DICOM object, it says so and leaves the earlier demo alone."""
    earlier, empty = tmp_path / "demo", tmp_path / "empty"
    empty.mkdir()
    assert run(["demo", "--folder", str(earlier)]) == 0
    before = sorted(earlier.rglob("*"))
    assert run(["demo", str(empty), "--folder", str(earlier)]) == 2
    assert f"no DICOM object in {empty}" in capsys.readouterr().err
    assert sorted(earlier.rglob("*")) == before
