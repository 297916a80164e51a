"""What a demonstration on files of one's own says of those that were left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.cli.main import run
from tests.support.outgoing import outgoing, outgoing_study
from tests.support.studies import data_set_bytes, make_instance


def test_what_is_refused_for_one_reason_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Objects under a UID that is taken are told once, in the receiver's own words."""
    files = tmp_path / "files"
    outgoing_study(files, 1)
    for number in range(5):
        other = make_instance("study", number=1, PatientWeight=str(60 + number))
        outgoing(files, str(other.SOPInstanceUID), data_set_bytes(other))
    for name in ("notes.txt", "more.txt"):
        (files / name).write_text("no image")
    assert run(["demo", str(files), "--folder", str(tmp_path / "demo")]) == 0
    lines = capsys.readouterr().err.splitlines()
    [refused] = [line for line in lines if line.startswith("refused")]
    assert "5 objects: " in refused
    assert refused.count(str(other.SOPInstanceUID)) == 1
    assert "(A900: Another object has this UID; kept in quarantine)" in refused
    [skipped] = [line for line in lines if line.startswith("skipped")]
    assert "notes.txt" in skipped
    assert "more.txt" in skipped
