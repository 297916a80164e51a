"""A directory whose sync failed once is never believed again."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from tests.support.clock import START


def keep(files: LocalFileStore) -> str:
    """Keep one small file."""
    spool = files.open_spool(b"head")
    try:
        name = files.place(spool.finish().path, START)
        files.make_durable(name)
        return name
    finally:
        spool.discard()


def test_after_a_failed_folder_sync_files_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is refused and gone; the next one stands in a folder of its own."""
    files = LocalFileStore(tmp_path)
    first = keep(files)
    really = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        really(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StoreUnavailable):
        keep(files)
    assert list(tmp_path.rglob("*.dcm")) == [tmp_path / first]
    assert list((tmp_path / "incoming").iterdir()) == []
    monkeypatch.setattr(os, "fsync", really)
    second = keep(files)
    assert Path(second).parent == Path(f"{Path(first).parent}-1")
    assert files.without_row() == 2
    files.close()
