"""A copy of the whole staging database, consistent, made while others write."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from intu_fhir.db.session import Connection, Database
from intu_fhir.errors import ConfigurationError, StoreUnavailable

SQLITE_COPY, POSTGRESQL_COPY = "staging.db", "staging.dump"
_PG_DUMP_SECONDS = 24 * 3_600.0


def name_of_copy(address: str) -> str:
    """Return what a copy of this kind of database is called."""
    return SQLITE_COPY if _is_sqlite(make_url(address)) else POSTGRESQL_COPY


@contextlib.contextmanager
def copied_database(address: str, to: Path) -> Iterator[Connection]:
    """Copy the database, and give a connection that sees the very moment of the copy.

    Args and errors are those of ``copy_database``.
    """
    url = make_url(address)
    if _is_sqlite(url):
        copy_database(address, to)
        database = Database(f"sqlite:///{to.absolute()}")
        try:
            with database.read() as connection:
                yield connection
        finally:
            database.close()
        return
    database = Database(address)
    try:
        with database.snapshot() as connection:
            name = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            copy_database(address, to, snapshot=name)
            yield connection
    finally:
        database.close()


def copy_database(address: str, to: Path, *, snapshot: str = "") -> None:
    """Copy the database as it is at one moment: SQLite as such, PostgreSQL as a custom dump.

    Args:
        address: URL of the staging database.
        to: file that is not there yet; readable by its owner alone.
        snapshot: the exported one of PostgreSQL whose moment is copied; empty = now.

    Raises:
        OSError: the disk is full or fails.
        StoreUnavailable: the database does not answer.
        ConfigurationError: pg_dump is not installed.
    """
    url = make_url(address)
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if _is_sqlite(url):
        _copy_sqlite(url, to)
    else:
        _dump_postgresql(url, to, snapshot)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _copy_sqlite(url: URL, new: Path) -> None:
    source = Path(url.database or "").absolute().as_uri()
    try:
        with contextlib.closing(sqlite3.connect(f"{source}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(new),))
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"The staging database could not be copied ({error}); check that it is there and that "
            "the backup has space"
        ) from None


def _dump_postgresql(url: URL, new: Path, snapshot: str) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise ConfigurationError(
            "pg_dump is not installed; install the PostgreSQL client of the server's version"
        )
    address = url.set(drivername="postgresql", password=None).render_as_string()
    # The password goes by the environment: others may see an argument.
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    options = ["--format=custom", "--no-password", f"--file={new}", f"--dbname={address}"]
    if snapshot:
        options.append(f"--snapshot={snapshot}")
    done = subprocess.run(  # noqa: S603  (no shell, our own arguments)
        [program, *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_PG_DUMP_SECONDS,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise StoreUnavailable(f"pg_dump failed: {said[-1] if said else done.returncode}")
