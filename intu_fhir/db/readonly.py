"""One statement of a person's own, run so that it can only read.

The databases themselves see to it; the text is not judged. SQLite: the file is opened read-only,
``query_only`` is on, an authorizer lets pass what reads, a progress handler ends what takes too
long. PostgreSQL: a read-only transaction in a session that is read-only by default, a
``statement_timeout``, and the extended protocol, which takes a single statement.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from sqlalchemy.engine import URL, make_url

from intu_fhir.errors import PermanentError, StoreUnavailable

MAX_VALUE_BYTES = 64 * 1024 * 1024
"""Longest text or blob that a statement may build on SQLite."""

_STEPS_BETWEEN_LOOKS = 10_000
_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_PRAGMAS = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}
)


class RefusedQuery(PermanentError):
    """The database refuses a statement: wrong SQL, or it would change something."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gives; ``rows`` can be read once, while the query is open."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextlib.contextmanager
def read_only_query(url: str, statement: str, *, timeout_seconds: float = 30.0) -> Iterator[Result]:
    """Run one statement read-only and give its rows while the context lasts.

    Args:
        url: the staging database.
        statement: one SQL statement in the database's own dialect.
        timeout_seconds: when the database ends it.

    Raises:
        RefusedQuery: the statement is wrong, would write, is more than one, or takes too long.
        StoreUnavailable: the database cannot be reached.
    """
    parsed = make_url(url)
    run = _sqlite if parsed.get_backend_name() == "sqlite" else _postgresql
    with run(parsed, statement, timeout_seconds) as result:
        yield result


@contextlib.contextmanager
def _sqlite(url: URL, statement: str, timeout_seconds: float) -> Iterator[Result]:
    address = f"{Path(url.database or '').absolute().as_uri()}?mode=ro"
    with _sqlite_errors(), contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        connection.execute("PRAGMA query_only = ON").close()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.set_authorizer(_authorize)
        ends_at = time.monotonic() + timeout_seconds
        connection.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS_BETWEEN_LOOKS)
        cursor = connection.execute(statement)
        if cursor.description is None:
            raise RefusedQuery("The statement gives no rows; write a SELECT")
        yield Result(tuple(column[0] for column in cursor.description), cursor)


def _authorize(
    action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None
) -> int:
    """Let pass what reads."""
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


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
def _postgresql(url: URL, statement: str, timeout_seconds: float) -> Iterator[Result]:
    with _postgresql_errors(), _read_only_session(url, timeout_seconds) as connection:
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
