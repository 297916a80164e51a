"""The schema's way from one version to the next (Alembic, configured in code).

One process at a time upgrades a database: another one that starts to waits, then finds nothing
left to do. On SQLite all migrations are one transaction. On PostgreSQL each one is, so that locks
are held for moments, and one that makes an index is none (``intu_fhir.db.online``): killed between
two of them, or in the middle, the next upgrade goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from intu_fhir.db.session import Database
from intu_fhir.db.trouble import database_errors
from intu_fhir.db.version_tables import schema_versions
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.settings.data import data_folder

WAIT_SECONDS = 60
"""How long to wait for another process that upgrades the same database."""

_PAUSE_SECONDS = 0.2
_LOCK = 0x494E5455
"""Key of the advisory lock that PostgreSQL migrations take, "INTU" in ASCII."""


def head() -> str:
    """Return the revision that this version of the program works on."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise ConfigurationError("no migrations are installed; install intu-fhir again")
    return revision


def current(url: str) -> str | None:
    """Return the revision a database is at, or None where it has no staging tables yet.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    if not _exists(url):
        return None
    with _open(url) as database, database.read() as connection:
        return _revision(connection)


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to ``revision``; one that is there already is left as it is.

    One that a newer version has upgraded further is left as it is, where this one may run beside
    it: a script that upgrades before each start must not keep it from starting.

    Raises:
        ConfigurationError: a newer version has upgraded it further than this one may run on.
        StoreUnavailable: the database cannot be reached, or another upgrade takes too long.
    """
    _run(url, lambda config: command.upgrade(config, revision), may_be_newer=revision == "head")


def downgrade(url: str, revision: str) -> None:
    """Bring a database back to ``revision`` (``base`` removes every table with its rows).

    Raises:
        ConfigurationError: a newer version of the program has upgraded it further.
        StoreUnavailable: the database cannot be reached.
    """
    _run(url, lambda config: command.downgrade(config, revision))


def require_fit(url: str) -> None:
    """Make sure that the program and the database fit together.

    A database that a newer version has upgraded fits too, as long as it says so: receivers,
    workers and tasks of an engine that begin meanwhile go on until it is their turn.

    Raises:
        ConfigurationError: they do not; the message says what to do.
        StoreUnavailable: the database cannot be reached.
    """
    found, wanted = current(url), head()
    if found == wanted:
        return
    if found is None:
        raise ConfigurationError(
            "the database has no staging tables yet; run `intu-fhir db upgrade`", key="database"
        )
    if not _is_known(found):
        with _open(url) as database, database.read() as connection:
            _require_allowed(connection, found)
        return
    raise ConfigurationError(
        f"the database is at revision {found}, this version works on {wanted}; "
        "run `intu-fhir db upgrade`",
        key="database",
    )


def _run(url: str, action: Callable[[Config], None], *, may_be_newer: bool = False) -> None:
    """Run an Alembic command on a database, alone."""
    with _open(url) as database, _patient(database), _alone(database) as connection:
        found = _revision(connection)
        if found is not None and not _is_known(found):
            if not may_be_newer:
                raise _too_new(found)
            _require_allowed(connection, found)
            return
        if not database.is_sqlite:
            connection.commit()  # each migration begins its own transaction
        config = _config()
        config.attributes["connection"] = connection
        action(config)


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """Give a connection on which nobody else migrates: SQLite's in its one transaction."""
    if database.is_sqlite:
        with database.write() as connection:
            yield connection
        return
    with database_errors(), database.engine.connect() as connection:
        _lock(connection)
        yield connection


@contextmanager
def _open(url: str) -> Iterator[Database]:
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _patient(database: Database) -> Iterator[None]:
    """Let new connections wait for another process's migration and run for as long as needed."""

    def configure(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        if database.is_sqlite:
            cursor.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
        else:
            cursor.execute("SET statement_timeout = 0")
            connection.commit()
        cursor.close()

    sa.event.listen(database.engine, "connect", configure)
    yield
    sa.event.remove(database.engine, "connect", configure)


def _lock(connection: Connection) -> None:
    """Wait for the turn to migrate, which ends with the connection.

    Afterwards a statement that needs a table for itself gives up soon, so that it never makes
    the receiver queue up behind it.
    """
    until = time.monotonic() + WAIT_SECONDS
    # Asked for again and again: an index is built only when no statement from before it runs any
    # more, so who waited for this lock inside of one would wait for an index that waits for it.
    while not _try_lock(connection):
        if time.monotonic() > until:
            raise StoreUnavailable(
                f"Another program upgrades this database and has not finished within "
                f"{WAIT_SECONDS} s; try again later"
            )
        time.sleep(_PAUSE_SECONDS)
    connection.execute(sa.text("SET lock_timeout = '5s'"))
    connection.commit()


def _try_lock(connection: Connection) -> bool:
    got = connection.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK))).scalar_one()
    connection.commit()
    return bool(got)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_known(revision: str) -> bool:
    script = ScriptDirectory.from_config(_config())
    return revision in {known.revision for known in script.walk_revisions()}


def _require_allowed(connection: Connection, found: str) -> None:
    """Refuse a schema of a newer version that does not say that this one may run on it.

    Revisions are numbers of four digits, so their order is that of their letters.
    """
    oldest = None
    if sa.inspect(connection).has_table(schema_versions.name):
        oldest = connection.execute(sa.select(schema_versions.c.runs_from)).scalar()
    if oldest is None or head() < oldest:
        raise _too_new(found)


def _too_new(revision: str) -> ConfigurationError:
    return ConfigurationError(
        f"the database is at revision {revision}, which this version does not know: a newer "
        f"version of intu-fhir has upgraded it (this one knows up to {head()}); "
        "install that version again, or restore a backup made before the upgrade",
        key="database",
    )


def _exists(url: str) -> bool:
    """Tell whether there can be something to read; opening SQLite would make the file."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return True
    return Path(parsed.database).exists()


def _config() -> Config:
    """Return Alembic's configuration, which needs no file of its own."""
    config = Config(stdout=StringIO())
    config.set_main_option("script_location", str(data_folder("migrations")).replace("%", "%%"))
    return config
