"""The disk below a site: what leads to its files and rows, and whether it takes anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from intu_fhir.app.wiring import open_app
from intu_fhir.settings.load import load_configuration
from intu_fhir.web.readiness import readiness
from tests.support.ports import free_port
from tests.support.site_folder import write_site


def test_the_folders_of_a_new_site_are_on_disk_before_its_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder above a new SQLite database is synced before anything can store a row there."""
    synced: set[str] = set()
    really = os.fsync

    def sync(descriptor: int) -> None:
        really(descriptor)
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    file = tmp_path / "new" / "site" / "db" / "staging.db"
    write_site(tmp_path, database=f"sqlite:///{file}", port=free_port())
    app = open_app(load_configuration(tmp_path))
    monkeypatch.setattr(os, "fsync", sync)
    assert app.rows.waiting() == 0
    assert synced >= {str(folder) for folder in (file.parent.parent, tmp_path / "new", tmp_path)}
    app.database.close()


def test_a_receiver_whose_disk_takes_nothing_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/readyz` says so where a kernel lets nothing be written; who only reads is ready."""
    write_site(tmp_path, database=f"sqlite:///{tmp_path}/staging.db", port=free_port())
    app = open_app(load_configuration(tmp_path))
    app.files.close()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", refuse)
        assert "Read-only" in readiness(app, app.database, lambda: True)["files"]
        assert "Read-only" not in readiness(app, app.database, None)["files"]
    assert "Read-only" not in readiness(app, app.database, lambda: True)["files"]
    app.database.close()


def test_a_receiver_whose_disk_is_not_mounted_any_more_is_not_ready(tmp_path: Path) -> None:
    """`/readyz` tells the empty folder below a disk from the file store that was on it."""
    write_site(tmp_path, database=f"sqlite:///{tmp_path}/staging.db", port=free_port())
    app = open_app(load_configuration(tmp_path))
    app.files.close()
    assert readiness(app, app.database, lambda: True)["files"] == ""
    (tmp_path / "files").rename(tmp_path / "away")
    (tmp_path / "files").mkdir()
    found = readiness(app, app.database, lambda: True)["files"]
    assert found == "is not there: its folder is empty"
    app.database.close()
