"""A backup that is made while images arrive, and a site that lives on from it (M-03)."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from intu_fhir.cli.main import run
from intu_fhir.db.tables import instances
from tests.support.databases import postgresql_program
from tests.support.running import Running
from tests.support.studies import make_study


def _restore_database(running: Running, backup: Path) -> None:
    """Put the copy in the place of the database: an empty one, as the how-to makes it."""
    url = make_url(running.site.app.configuration.site.database)
    if url.get_backend_name() == "sqlite":
        place = Path(url.database or "")
        for end in ("", "-wal", "-shm"):
            place.with_name(place.name + end).unlink(missing_ok=True)
        shutil.copyfile(backup / "staging.db", place)
        return
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    program = postgresql_program("pg_restore")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    subprocess.run(
        [program, f"--dbname={address}", str(backup / "staging.dump")],
        check=True,
        timeout=60,
    )


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
    published.site.stop()
    published.site.app.close()
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
