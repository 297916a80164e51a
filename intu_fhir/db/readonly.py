"""One statement of a person's own, run so that it can only read.

The databases themselves see to it; the text is not judged. SQLite: the file is opened read-only,
``query_only`` is on, an authorizer lets pass what reads, a progress handler ends what takes too
long. PostgreSQL: a read-only transaction in a session that is read-only by default, a
``statement_timeout``, and the extended protocol, which takes a single statement.

Reading alone can do harm on PostgreSQL: a function may read the server's files, or end the sessions
of its own role. So what comes from elsewhere, by the web, runs there as a role that can do neither
(``Reader``), and the role is looked at each time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from sqlalchemy.engine import URL, make_url

from intu_fhir.errors import PermanentError, StoreUnavailable

MAX_VALUE_BYTES = 64 * 1024 * 1024
"""Longest text or blob that a statement may build on SQLite."""

_STEPS_BETWEEN_LOOKS = 100
"""Steps of SQLite between two looks at the clock; one step may run through megabytes of text."""

_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_NO_FUNCTIONS = frozenset({"fts3_tokenizer", "load_extension"})
"""The first one tells an address within the process, and takes one."""

_PRAGMAS = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}
)

AUDIT_TRAIL = "audit_events"
ADMINISTRATORS_ONLY = frozenset({AUDIT_TRAIL, "api_tokens"})
"""Tables that a statement by the web shows to administrators, or to nobody."""

_PAGES_OF_THE_FILE = frozenset({"sqlite_dbpage", "sqlite_stat4"})
"""What shows pieces of all tables, where SQLite was built with it."""

_POWERS = (
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
    "pg_signal_backend",
    "pg_read_all_data",
    "pg_write_all_data",
)
_POWERFUL_FUNCTIONS = (
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_dir",
    "pg_stat_file",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "lo_import",
    "lo_export",
)
_TOO_MUCH = """
SELECT 'is a superuser' FROM pg_roles WHERE rolname = session_user AND rolsuper
UNION ALL
SELECT 'is a member of ' || rolname FROM pg_roles
WHERE rolname = ANY(%(powers)s) AND pg_has_role(session_user, oid, 'MEMBER')
UNION ALL
SELECT 'may run ' || proname FROM pg_proc
WHERE proname = ANY(%(functions)s) AND pronamespace = 'pg_catalog'::regnamespace
  AND has_function_privilege(session_user, oid, 'EXECUTE')
UNION ALL
SELECT 'may do all that the owner of the tables may' FROM pg_class
WHERE relname = 'studies' AND pg_has_role(session_user, relowner, 'MEMBER')
UNION ALL
SELECT 'may read ' || relname FROM pg_class
WHERE relname = ANY(%(hidden)s) AND relkind = 'r'
  AND has_any_column_privilege(session_user, oid, 'SELECT')
LIMIT 1
"""
"""What a role may that a reader must not. It asks for who has logged in, since a statement could
give itself that role back."""


class RefusedQuery(PermanentError):
    """The database refuses a statement: wrong SQL, or it would change something."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gives; ``rows`` can be read once, while the query is open.

    Args:
        tables: what it reads, on SQLite.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]
    tables: Collection[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reader:
    """As whom somebody asks who is not at the machine.

    Args:
        url: the staging database; on PostgreSQL as a role that reads and can do nothing else.
        hidden: tables that are not shown.
    """

    url: str = field(repr=False)
    hidden: frozenset[str] = ADMINISTRATORS_ONLY


@contextlib.contextmanager
def read_only_query(
    asked: str | Reader, statement: str, *, timeout_seconds: float = 30.0
) -> Iterator[Result]:
    """Run one statement read-only and give its rows while the context lasts.

    Args:
        asked: the staging database, with the rights of the program; or as whom somebody else asks.
        statement: one SQL statement in the database's own dialect.
        timeout_seconds: when the database ends it.

    Raises:
        RefusedQuery: the statement is wrong, would write, is more than one, or takes too long; or
            the role of a reader may do more than read.
        StoreUnavailable: the database cannot be reached.
    """
    url = make_url(asked if isinstance(asked, str) else asked.url)
    hidden = None if isinstance(asked, str) else asked.hidden
    run = _sqlite if url.get_backend_name() == "sqlite" else _postgresql
    with run(url, statement, timeout_seconds, hidden) as result:
        yield result


@contextlib.contextmanager
def _sqlite(
    url: URL, statement: str, timeout_seconds: float, hidden: frozenset[str] | None
) -> Iterator[Result]:
    address = f"{Path(url.database or '').absolute().as_uri()}?mode=ro"
    seen: set[str] = set()
    with _sqlite_errors(), contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("PRAGMA query_only = ON").close()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.set_authorizer(_authorizer(hidden or frozenset(), seen))
        ends_at = time.monotonic() + timeout_seconds
        connection.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS_BETWEEN_LOOKS)
        cursor = connection.execute(statement)
        if cursor.description is None:
            raise RefusedQuery("The statement gives no rows; write a SELECT")
        yield Result(tuple(column[0] for column in cursor.description), cursor, seen)


def _authorizer(hidden: frozenset[str], seen: set[str]) -> Callable[..., int]:
    """Return what lets pass what reads, but no hidden table, and notes what is read."""
    if hidden:
        hidden |= _PAGES_OF_THE_FILE

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION and second in _NO_FUNCTIONS:
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_READ and first is not None:
            seen.add(first)
            return sqlite3.SQLITE_DENY if first in hidden else sqlite3.SQLITE_OK
        if action in _READING or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return authorize


@contextlib.contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        text = str(error)
        if text in {"unable to open database file", "database is locked"}:
            raise StoreUnavailable(
                f"The staging database does not answer ({text}); check that it is there"
            ) from None
        if text == "interrupted":
            text = "it took too long; narrow it down or allow more with --timeout"
        elif text == "not authorized":
            text = "only reading is allowed here"
        raise RefusedQuery(f"The database refuses the statement: {text}") from None


@contextlib.contextmanager
def _postgresql(
    url: URL, statement: str, timeout_seconds: float, hidden: frozenset[str] | None
) -> Iterator[Result]:
    with _postgresql_errors(), _read_only_session(url, timeout_seconds) as connection:
        if hidden is not None:
            _require_reader(connection, hidden)
        columns = _described(connection, statement)
        with connection.cursor() as cursor:
            # Streaming uses the extended protocol: the server takes one statement only.
            yield Result(columns, iter(cursor.stream(statement.encode())))


@contextlib.contextmanager
def _read_only_session(url: URL, timeout_seconds: float) -> Iterator[psycopg.Connection[Any]]:
    """Connect so that reading is all that this session does, whatever it is told later."""
    milliseconds = max(1, int(timeout_seconds * 1_000))
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg.connect(
        address,
        connect_timeout=5,
        application_name="intu_fhir sql",
        options=f"-c default_transaction_read_only=on -c statement_timeout={milliseconds}",
    )
    try:
        connection.read_only = True
        connection.execute("SET LOCAL TIME ZONE 'UTC'")
        yield connection
    finally:
        connection.close()  # without a commit


def _require_reader(connection: psycopg.Connection[Any], hidden: frozenset[str]) -> None:
    """Refuse a session that may do more than read.

    Raises:
        RefusedQuery: it may; the message says what.
    """
    asked = {
        "powers": list(_POWERS),
        "functions": list(_POWERFUL_FUNCTIONS),
        "hidden": sorted(hidden),
    }
    found = connection.execute(_TOO_MUCH, asked).fetchone()
    if found is not None:
        raise RefusedQuery(
            f"The role of web.sql.database {found[0]}; name one that "
            "deploy/postgresql/reader-role.sql has made"
        )


def _described(connection: psycopg.Connection[Any], statement: str) -> tuple[str, ...]:
    """Let the server parse one statement; return its columns, of which a COPY has none."""
    prepared = connection.pgconn.prepare(b"", statement.encode())
    if prepared.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(prepared, encoding="utf-8")
    described = connection.pgconn.describe_prepared(b"")
    names = [described.fname(index) or b"" for index in range(described.nfields)]
    if not names:
        raise RefusedQuery("The statement gives no rows; write a SELECT")
    return tuple(name.decode() for name in names)


@contextlib.contextmanager
def _postgresql_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise RefusedQuery(
            "The database refuses the statement: it took too long; narrow it down or allow more "
            "with --timeout"
        ) from None
    except psycopg.Error as error:
        if error.diag.message_primary is None:
            raise StoreUnavailable(
                f"The staging database does not answer ({type(error).__name__}); check that it runs"
            ) from None
        raise RefusedQuery(
            f"The database refuses the statement: {error.diag.message_primary}"
        ) from None
