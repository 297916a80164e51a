"""A backup that is made while images arrive, and a site that lives on from it (M-03)."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy.engine import make_url

from intu_fhir.cli.main import run
from intu_fhir.db.tables import instances
from tests.docs.pages import REPOSITORY
from tests.support.databases import postgresql_program
from tests.support.running import Running
from tests.support.studies import make_study

PAGE = REPOSITORY / "docs" / "how-to" / "back-up-and-restore.md"
_KINDS = {"cp --recursive": "files", "rm --force": "sqlite", "dropdb": "postgresql"}


def _told() -> dict[str, str]:
    """Return the commands of the page by what they put back."""
    restore = PAGE.read_text("utf-8").partition("\n## Restore\n")[2].partition("\n## ")[0]
    blocks = [dedent(block) for block in re.findall(r"```bash\n(.*?)```", restore, re.DOTALL)]
    return {kind: block for block in blocks for sign, kind in _KINDS.items() if sign in block}


def _put_back(running: Running, backup: Path, what: str) -> None:
    """Run the very commands of the page, on the folders and the database of the test."""
    site, environment = running.site.app.configuration.site, dict(os.environ)
    url = make_url(site.database)
    places = {"/mnt/backup/intu": backup, "/var/lib/intu-fhir/files": site.files_folder}
    if url.get_backend_name() == "sqlite":
        places["/var/lib/intu-fhir"] = Path(url.database or "").parent
    else:
        programs = Path(postgresql_program("pg_restore")).parent
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        environment |= {"PGUSER": url.username or "", "PGPASSWORD": url.password or ""}
        environment["PGHOST"] = str(url.query.get("host") or url.host)
    commands = _told()[what]
    for told, place in places.items():
        commands = commands.replace(told, str(place))
    commands = commands.replace("--if-exists intu", f"--if-exists {url.database}")
    done = subprocess.run(
        ["bash", "-euc", commands], env=environment, check=False, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def _restore_database(running: Running, backup: Path) -> None:
    """Put the copy in the place of the database."""
    kind = make_url(running.site.app.configuration.site.database).get_backend_name()
    _put_back(running, backup, kind)


def _stop(running: Running) -> None:
    running.site.stop()
    running.site.app.close()


def _stored(running: Running) -> dict[str, tuple[bytes, int, int]]:
    """Return of each file that a row speaks of its bytes, its mode, and that of its folder."""
    store = running.site.app.configuration.site.files_folder
    paths = {row.file: store / row.file for row in running.rows(instances)}
    return {
        name: (path.read_bytes(), path.stat().st_mode, path.parent.stat().st_mode)
        for name, path in paths.items()
    }


def test_a_site_of_which_nothing_is_left_comes_back(
    published: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands of the page files and database are there as before, closed to others."""
    backup, config = tmp_path / "backup", str(published.folder)
    before = _stored(published)
    assert len(before) == 4
    assert run(["backup", "--config", config, str(backup)]) == 0
    _stop(published)
    shutil.rmtree(published.site.app.configuration.site.files_folder)
    _put_back(published, backup, "files")
    _restore_database(published, backup)
    assert run(["files", "adopt", "--config", config]) == 0
    assert run(["files", "verify", "--config", config]) == 0
    published.restart()
    assert _stored(published) == before
    published.send(make_study("later"))
    published.rest()
    assert len(published.imaging_studies()) == 2
    capsys.readouterr()


def test_a_restored_site_goes_on(
    published: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row of the backup has its file; what came later is adopted; nothing is doubled."""
    backup, config = tmp_path / "backup", str(published.folder)
    arriving = threading.Thread(target=lambda: published.send(make_study("other", 4, 10)))
    arriving.start()
    assert run(["backup", "--config", config, str(backup)]) == 0
    arriving.join()
    published.rest()
    published.send(make_study("later"))
    published.rest()
    received = {row.sop_instance_uid for row in published.rows(instances)}
    _stop(published)
    _restore_database(published, backup)
    assert run(["files", "adopt", "--config", config]) == 0
    assert run(["files", "verify", "--config", config]) == 0
    published.restart()
    published.rest()
    assert {row.sop_instance_uid for row in published.rows(instances)} == received
    assert len(published.imaging_studies()) == 3
    capsys.readouterr()


def test_the_copy_speaks_only_of_files_it_has(published: Running, tmp_path: Path) -> None:
    """Whatever arrives meanwhile, each row of the copied database has its file in the copy."""
    backup = tmp_path / "backup"
    arriving = threading.Thread(target=lambda: published.send(make_study("other", 5, 20)))
    arriving.start()
    assert run(["backup", "--config", str(published.folder), str(backup)]) == 0
    arriving.join()
    copy = backup / "staging.db"
    if not copy.exists():
        assert (backup / "staging.dump").stat().st_size > 0
        return
    with sqlite3.connect(copy) as connection:
        names = [name for (name,) in connection.execute("SELECT file FROM instances")]
    connection.close()
    assert len(names) >= 4
    assert [name for name in names if not (backup / "files" / name).is_file()] == []


def test_a_second_backup_copies_what_is_new(
    published: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that are in the backup already are not copied again."""
    command = ["backup", "--config", str(published.folder), str(tmp_path / "backup")]
    assert run(command) == 0
    published.send(make_study("other"))
    published.rest(generation=1)
    capsys.readouterr()
    assert run(command) == 0
    assert "6 files copied, 4 were there" in capsys.readouterr().out
