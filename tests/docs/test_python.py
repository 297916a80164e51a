"""The Python that pages show runs as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from intu_fhir.build.transform import Message, load_transformer
from intu_fhir.db import migrate
from intu_fhir.demo.samples import sample_files
from intu_fhir.settings.starter import write_starter
from tests.docs.pages import REPOSITORY, blocks, read
from tests.support.databases import sqlite_url
from tests.support.ports import free_port

HOW_TO = REPOSITORY / "docs" / "how-to"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study and a site, as the pages assume them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study").mkdir()
    one = next(path for path in sample_files() if "77654033/CT2" in path.as_posix())
    shutil.copy(one, tmp_path / "study")
    write_starter(tmp_path / "my-site")
    channel = tmp_path / "my-site/channels/radiology-ingest/channel.yaml"
    text = channel.read_text(encoding="utf-8")
    channel.write_text(text.replace("port: 4104", f"port: {free_port()}"), encoding="utf-8")
    migrate.upgrade(sqlite_url(tmp_path / "my-site/data/staging.db"))
    return tmp_path


@pytest.mark.parametrize("number", range(4))
def test_library_examples_run(
    number: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each example of the library page runs by itself, in a folder with a study and a site."""
    examples = [block.text for block in blocks(read(HOW_TO / "use-from-python.md"), "python")]
    assert len(examples) == 4
    exec(compile(examples[number], "use-from-python.md", "exec"), {})
    assert capsys.readouterr().err == ""


def test_hook_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    """The example hook notes the ward and leaves phantoms out."""
    hook, *_ = (block.text for block in blocks(read(HOW_TO / "write-a-transformer.md"), "python"))
    path = tmp_path / "dicom_to_fhir.py"
    path.write_text(hook, encoding="utf-8")
    transform = load_transformer(path)
    assert transform(Message({}, {"PatientID": "PHANTOM 7"})) is None
    ward = {"PatientID": "1", "InstitutionalDepartmentName": "Ward 3"}
    assert transform(Message({}, ward)) == {"note": [{"text": "Asked for by Ward 3"}]}
