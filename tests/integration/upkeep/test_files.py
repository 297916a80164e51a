"""The file store held against the database: what is missing, damaged, or nobody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.cli.main import run
from intu_fhir.db.tables import deliveries, instance_deliveries, instances
from tests.support.running import Running
from tests.support.studies import data_set_bytes, make_instance, uid, write_file


def _verify(
    running: Running, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["files", "verify", "--config", str(running.folder), "--json", *options])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, said


def _file_of(running: Running, instance: str) -> Path:
    [row] = [one for one in running.rows(instances) if one.sop_instance_uid == instance]
    return running.folder / "files" / str(row.file)


def test_files_that_are_as_received(published: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong with a site on which nothing went wrong."""
    code, said = _verify(published, capsys)
    assert code == 0
    assert (said["checked"], said["faults"], said["without_row"]) == (4, [], [])


def test_a_flipped_bit_and_a_lost_file_are_found(
    published: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of damage is named with its UID (M-04); the quick look finds what is missing.

    It looks again at what is noted.
    """
    flipped, lost = uid("study", 1, 1), uid("study", 1, 2)
    content = bytearray(_file_of(published, flipped).read_bytes())
    content[-1] ^= 1
    _file_of(published, flipped).write_bytes(content)
    _file_of(published, lost).unlink()
    code, said = _verify(published, capsys)
    assert code == 1
    found = {one["sop_instance_uid"]: one["what"] for one in said["faults"]}
    assert found == {flipped: "damaged", lost: "missing"}
    assert {one["what"] for one in _verify(published, capsys, "--quick")[1]["faults"]} == {
        "damaged",
        "missing",
    }
    failing = "SELECT sop_instance_uid FROM instances WHERE damaged_at IS NOT NULL"
    run(["sql", "--config", str(published.folder), "--format", "json", failing])
    assert flipped in capsys.readouterr().out


@pytest.mark.parametrize("where", [b"DICM", b"1.2.840.10008.1.2", b"2.25."])
def test_what_stands_before_the_data_set_counts(
    published: Running, capsys: pytest.CaptureFixture[str], where: bytes
) -> None:
    """Readers learn from it how to read the rest; the image sent again gets a whole file."""
    [row] = [o for o in published.rows(instances) if o.sop_instance_uid == uid("study", 1, 1)]
    file = _file_of(published, row.sop_instance_uid)
    sound = file.read_bytes()
    content = bytearray(sound)
    content[content.index(where) + 2] ^= 0x01
    file.write_bytes(content)
    code, said = _verify(published, capsys)
    assert (code, said["faults"][0]["what"]) == (1, "damaged")
    assert _verify(published, capsys)[0] == 1  # and the note of it stays
    [answer] = published.send([make_instance(series=1, number=1)])
    assert answer.status == "0000"
    assert _file_of(published, row.sop_instance_uid).read_bytes() == sound
    assert _verify(published, capsys)[0] == 0


def test_a_bare_data_set_that_was_imported_is_sound(
    published: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It came without meta information; the file that is kept of it has some, and is whole."""
    bare = tmp_path / "bare"
    bare.write_bytes(data_set_bytes(make_instance("bare")))
    assert run(["import", "--config", str(published.folder), str(bare)]) == 0
    code, said = _verify(published, capsys)
    assert (code, said["checked"]) == (0, 5)


def test_a_damaged_file_never_leaves_and_a_new_copy_mends_it(
    published: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged image is refused to the PACS; sent again by its modality, it is whole again."""
    damaged = uid("study", 1, 1)
    sound = _file_of(published, damaged).read_bytes()
    _file_of(published, damaged).write_bytes(sound[:-1] + b"\xff")
    with published.site.app.database.write() as connection:
        connection.execute(instance_deliveries.delete())
    before = len(published.pacs.instances)
    replay = ["replay", "--config", str(published.folder), "--destination", "pacs", "--force"]
    assert run(replay) == 0
    published.rest()
    [pacs] = [row for row in published.rows(deliveries) if row.destination == "pacs"]
    assert pacs.state == "dead"
    assert "not what was received" in pacs.last_error
    assert damaged not in {one.sop_instance_uid for one in published.pacs.instances[before:]}
    assert _verify(published, capsys)[0] == 1
    [answer] = published.send([make_instance(series=1, number=1)])
    assert answer.status == "0000"
    assert _file_of(published, damaged).read_bytes() == sound
    assert _verify(published, capsys)[0] == 0


def test_a_file_of_nobody_is_adopted(
    published: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came after the copy of the database is staged, and has one file again."""
    stray = make_instance(series=1, number=9)
    place = published.folder / "files" / "instances" / "2024" / "01" / "01" / "0000"
    place.mkdir(parents=True)
    path = write_file(stray, place / "stray.dcm")
    published.site.stop()
    code, said = _verify(published, capsys)
    assert code == 1
    assert said["without_row"] == ["instances/2024/01/01/0000/stray.dcm"]
    assert run(["files", "adopt", "--config", str(published.folder)]) == 0
    assert not path.exists()
    assert _verify(published, capsys)[0] == 0
    assert stray.SOPInstanceUID in {row.sop_instance_uid for row in published.rows(instances)}
