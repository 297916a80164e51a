"""Connections to the staging database, with the settings that make a commit durable."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.engine import Connection as Connection

from intu_fhir.db.prepared import run_as_it_is
from intu_fhir.db.trouble import ABANDONED_SECONDS, database_errors, reason_of
from intu_fhir.errors import ConfigurationError, NotDurable, OutcomeUnknown, StoreUnavailable

BUSY_SECONDS = 5.0
"""How long a writer waits for another one before it gives up."""

_SILENT_MS = 15_000
"""So long data may stay unacknowledged before a connection counts as lost.

Without it a statement on a connection whose packets vanish waits as long as TCP repeats them: a
quarter of an hour on Linux.
"""

MAY_LOSE_DATA = "INTU_DANGER_DATABASE_MAY_LOSE_DATA"
"""Set to ``1`` in the environment, a server without fsync is put up with. For tests alone."""

_BEHIND_A_POOLER = "behind_a_pooler"
_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": "'5s'",
    "idle_in_transaction_session_timeout": f"'{ABANDONED_SECONDS}s'",
    "statement_timeout": "'60s'",
}
"""What every transaction of ours on PostgreSQL has to run with."""

_SET_SESSION = "; ".join(f"SET {name} = {value}" for name, value in _SESSION.items())
_SET_LOCAL = "; ".join(f"SET LOCAL {name} = {value}" for name, value in _SESSION.items())

_JSON: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}


def sqlite_folder(url: str) -> Path | None:
    """Return the folder of an SQLite database; None where the database is elsewhere."""
    scheme, _, path = url.partition(":///")
    return Path(path.partition("?")[0]).parent if scheme.startswith("sqlite") else None


class Database:
    """One staging database: SQLite (WAL, ``synchronous=FULL``) or PostgreSQL.

    Args:
        url: an SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://...``.
        pool_size: connections kept open.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = url
        self.engine = make_engine(url, pool_size=pool_size)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        self._closing: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading; what is written on it is rolled back.

        Raises:
            StoreUnavailable: the database cannot be reached or is locked.
        """
        with database_errors(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """As ``read``, where all statements see the database as it was at the first one."""
        with database_errors(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
                be_patient(connection)
            yield connection
            connection.rollback()

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection in a write transaction, committed durably at the end.

        Raises:
            StoreUnavailable: the database cannot be reached, is full or is locked; nothing was
                written.
            OutcomeUnknown: the commit itself failed; it may have been written all the same.
        """
        with (
            self.turn(),
            database_errors(),
            self.engine.connect() as connection,
            transaction(connection),
        ):
            yield connection

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this process's turn to write; SQLite has one writer and polls for its lock.

        Raises:
            StoreUnavailable: the turn did not come in time.
        """
        if not self.is_sqlite:
            yield
            return
        if not self._writer.acquire(timeout=BUSY_SECONDS):
            raise StoreUnavailable("The staging database is busy; it is tried again")
        try:
            yield
        finally:
            self._writer.release()

    def at_close(self, do: Callable[[], None]) -> None:
        """Have something done before the connections are closed."""
        self._closing.append(do)

    def close(self) -> None:
        """Close every pooled connection."""
        for do in self._closing:
            do()
        self.engine.dispose()


def be_patient(connection: Connection) -> None:
    """Let a transaction that only reads wait for whoever takes what it reads."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Begin a write transaction; commit it at the end, or roll it back."""
    try:
        _begin(connection)
        yield
    except BaseException as error:
        connection.rollback()
        if _can_only_read(error):
            connection.invalidate()
        raise
    _commit(connection)


def _begin(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        # A deferred transaction that reads first fails "locked" at once.
        connection.begin()
        run_as_it_is(connection, "BEGIN IMMEDIATE")
    elif _BEHIND_A_POOLER in connection.info:
        # It may give each transaction another session, which knows nothing of what we have set.
        connection.begin()
        run_as_it_is(connection, _SET_LOCAL)


def _can_only_read(error: BaseException) -> bool:
    """Say whether SQLite has this database open for reading alone, until it is opened anew.

    It tries that by itself where opening for writing fails, as on a disk that is read-only for a
    while, or without a descriptor to spare.
    """
    code: int = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_READONLY


def _commit(connection: Connection) -> None:
    """Commit; a failure here leaves open what the disk or the server has of it.

    A lost connection may hide a commit that went well. SQLite may have written the whole
    transaction to its log before the sync failed, and find it there after a crash. An error that
    is none of the database's, such as a lack of memory, may come before or after.
    """
    try:
        connection.commit()
    except Exception as error:  # noqa: BLE001  (whatever it is, the commit has begun)
        reason = reason_of(error) if isinstance(error, sa.exc.DBAPIError) else type(error).__name__
        raise OutcomeUnknown(
            f"The staging database did not confirm a commit ({reason}); "
            "check that it runs and has space"
        ) from None


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """Return an engine for ``url`` whose commits are durable.

    Raises:
        ConfigurationError: neither SQLite nor PostgreSQL, or not a URL.
    """
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigurationError(
            "not a database URL; write sqlite:///path or postgresql+psycopg://user@host/name",
            key="database",
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite_engine(parsed, pool_size)
    if backend == "postgresql":
        return _postgresql_engine(parsed, pool_size)
    raise ConfigurationError(
        f"{backend} is not supported; use sqlite or postgresql+psycopg", key="database"
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} cannot be made ({error.strerror}); name another place, or let "
            "this user write there",
            key="database",
        ) from None


def _sqlite_engine(url: URL, pool_size: int) -> Engine:
    if url.database and url.database != ":memory:":
        _make_folder(Path(url.database).parent)
    engine = sa.create_engine(
        url,
        **_JSON,
        pool_size=pool_size,
        max_overflow=20,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # We say BEGIN ourselves; the driver must not.
        connection.isolation_level = None
        _require_wal(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "cache_size=-65536",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _require_wal(mode: str) -> None:
    """Refuse any other journal: its commits need more syncs than we ask for, or none will do."""
    if mode not in {"wal", "memory"}:  # the latter has no file to lose
        raise ConfigurationError(
            f"SQLite keeps this file with journal_mode {mode} and cannot do so with WAL; put it on "
            "a local disk, and leave `vfs` and `mode` out of the URL",
            key="database",
        )


def _require_durable(fsync: str, full_page_writes: str) -> None:
    """Refuse a server whose commits a power cut may take back or tear."""
    settings = {"fsync": fsync, "full_page_writes": full_page_writes}
    off = [name for name, value in settings.items() if value != "on"]
    if off and os.environ.get(MAY_LOSE_DATA) != "1":
        raise NotDurable(
            f"The PostgreSQL server runs with {' and '.join(off)} off, and a power cut may take "
            "back images that were answered Success; turn it on in postgresql.conf and reload"
        )


def _postgresql_engine(url: URL, pool_size: int) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(
        url,
        **_JSON,
        pool_size=pool_size,
        max_overflow=20,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "intu_fhir",
            "tcp_user_timeout": _SILENT_MS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            # Our statements end in milliseconds; compiling one takes a hundred of them.
            cursor.execute(f"{_SET_SESSION}; SET TIME ZONE 'UTC'; SET jit = off")
            cursor.execute(
                "SELECT current_setting('fsync'), current_setting('full_page_writes'), "
                "pg_backend_pid()"
            )
            *durable, process = cursor.fetchone()
        connection.commit()
        if process != connection.info.backend_pid:
            record.info[_BEHIND_A_POOLER] = True
        _require_durable(*durable)

    return engine
