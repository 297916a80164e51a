"""A disk that only the database is on runs low: objects are refused before it is full."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from intu_fhir.app.serving import RECEIVE, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.check.stores import check_database
from intu_fhir.cli.main import run
from intu_fhir.settings.load import load_configuration
from intu_fhir.web import readiness
from intu_fhir.web.standing import standing_metrics
from tests.support.databases import sqlite_url
from tests.support.ports import free_port
from tests.support.raw_peer import RawPeer, status_of
from tests.support.site_folder import write_site
from tests.support.studies import data_set_bytes, make_instance, uid, write_study
from tests.support.waiting import wait_until

MIN_FREE = 1 << 30


@contextmanager
def receiving(folder: Path, database: Path) -> Iterator[Site]:
    """Run the receiving part of a site whose database is in a folder of its own."""
    database.mkdir()
    write_site(
        folder,
        database=sqlite_url(database / "staging.db"),
        port=free_port(),
        receiver={"min_free_bytes": MIN_FREE},
    )
    site = Site(open_app(load_configuration(folder)), {RECEIVE})
    site.start()
    try:
        yield site
    finally:
        site.stop()


def test_the_disk_of_the_database_has_the_same_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below ``min_free_bytes`` there: A700; with space again: Success. All who watch are told."""
    disk, free = tmp_path / "database", {"bytes": 22 << 20}
    usage = shutil.disk_usage

    def asked(folder: Any) -> Any:
        if Path(folder) == disk:
            return SimpleNamespace(free=free["bytes"])
        return usage(folder)

    monkeypatch.setattr(shutil, "disk_usage", asked)
    with receiving(tmp_path, disk) as site, RawPeer(site.listeners[0].port) as peer:
        peer.associate(called="INTU_TEST")
        objects = data_set_bytes(make_instance())
        assert status_of(peer.store(objects, uid("study", 1, 1))) == 0xA700
        assert status_of(peer.echo()) == 0x0000
        assert "intu_database_free_bytes 2.3068672e+07" in standing_metrics(site.app).decode()
        free["bytes"] = 4 << 30
        wait_until(
            lambda: status_of(peer.store(objects, uid("study", 1, 1))) == 0x0000,
            seconds=20,
            what="the first object with space again",
        )


def test_readiness_and_check_name_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``/readyz`` and ``intu-fhir check`` say of the database that it has too little space."""
    disk = tmp_path / "database"
    with receiving(tmp_path, disk) as site:
        real = readiness.os.statvfs

        def asked(folder: Any) -> Any:
            found = real(folder)
            if Path(folder) != disk:
                return found
            return SimpleNamespace(f_bavail=1, f_frsize=found.f_frsize)

        monkeypatch.setattr(readiness.os, "statvfs", asked)
        parts = readiness.readiness(site.app, site.app.database, None)
        assert (parts["database"], parts["files"]) == ("too little space", "")
        row = check_database(site.app.configuration.site)
        assert not row.ok
        assert "min_free_bytes" in row.remedy


def test_an_import_keeps_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An import ends before it leaves less than ``min_free_bytes``, says so, and goes on later."""
    database, free = tmp_path / "database", {"bytes": MIN_FREE + 1}
    database.mkdir()
    usage = shutil.disk_usage

    def asked(folder: Any) -> Any:
        return SimpleNamespace(free=free["bytes"]) if Path(folder) == database else usage(folder)

    monkeypatch.setattr(shutil, "disk_usage", asked)
    write_site(
        tmp_path,
        database=sqlite_url(database / "staging.db"),
        port=free_port(),
        receiver={"min_free_bytes": MIN_FREE},
    )
    media = write_study(tmp_path / "media")
    command = ["import", "--config", str(tmp_path), str(tmp_path / "media")]
    assert run(command) == 1
    assert "min_free_bytes; free space, then run the import again" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.part"))
    free["bytes"] = 4 << 30
    assert run(command) == 0
    assert f"{len(media)}  stored" in capsys.readouterr().out
