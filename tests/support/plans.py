"""What is asked of a database by a whole program, and how the database would look for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from intu_fhir.db.session import Database

Statement = tuple[str, Any]
"""A statement with its values."""

Asked = dict[str, Any]
"""Statements with the values that they were given first; SQLite's have theirs in the text."""

_LOOKS = re.compile(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b")


@contextmanager
def statements_of(database: Database) -> Iterator[list[Statement]]:
    """Collect what is asked of one database through SQLAlchemy meanwhile."""
    asked: list[Statement] = []

    def note(_connection: Any, _cursor: Any, text: str, given: Any, *_: Any) -> None:
        asked.append((text, given))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def plan_of(
    database: Database, statement: str, given: Any, without: Sequence[str] = ()
) -> list[str]:
    """Return how a database would look, step by step.

    Args:
        without: settings of PostgreSQL to switch off: a handful of rows is cheap by any way, and
            what is cheap with many has to be possible.
    """
    with database.read() as connection:
        if database.is_sqlite:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
            return [str(row[-1]) for row in rows]
        for setting in without:
            connection.exec_driver_sql(f"SET LOCAL {setting} = off")
        return [str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {statement}", given)]


@contextmanager
def asked_of_databases() -> Iterator[Asked]:
    """Collect each statement of every new connection meanwhile, below SQLAlchemy itself."""
    asked: Asked = {}

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **how: Any) -> Cursor:
            asked.setdefault(str(query), params)
            return super().execute(query, params, **how)

        def executemany(self, query: Any, params_seq: Any, **how: Any) -> None:
            rows = list(params_seq)
            asked.setdefault(str(query), rows[0])
            super().executemany(query, rows, **how)

    def listen(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(lambda text: asked.setdefault(text, None))
        else:
            connection.cursor_factory = Cursor

    sa.event.listen(sa.pool.Pool, "connect", listen)
    try:
        yield asked
    finally:
        sa.event.remove(sa.pool.Pool, "connect", listen)


def tables_read_whole(url: str, asked: Asked) -> dict[str, set[str]]:
    """Return the tables that are read from end to end, each with the statements that do it."""
    address = sa.make_url(url)
    looks = {text: given for text, given in asked.items() if _LOOKS.match(text)}
    whole: dict[str, set[str]] = {}
    if address.get_backend_name() == "sqlite":
        found = _whole_in_sqlite(str(address.database), list(looks))
    else:
        found = _whole_in_postgresql(url.replace("+psycopg", "", 1), looks)
    for table, text in found:
        whole.setdefault(table, set()).add(text)
    return whole


def _whole_in_sqlite(path: str, looks: Sequence[str]) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        for text in looks:
            for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {text}"):
                if match := re.fullmatch(r"SCAN (\w+)", line):
                    yield match[1], text


def _whole_in_postgresql(address: str, looks: Asked) -> Iterator[tuple[str, str]]:
    with psycopg.connect(address, connect_timeout=5) as connection:
        # For a join with a table of a thousand rows PostgreSQL reads it whole, of a million not.
        connection.execute("SET enable_hashjoin = off")
        connection.execute("SET enable_mergejoin = off")
        for text, given in looks.items():
            explain = f"EXPLAIN (FORMAT JSON) {text}"
            [[plans]] = connection.execute(explain.encode(), given).fetchall()
            for node in _nodes(plans[0]["Plan"]):
                if node["Node Type"] == "Seq Scan":
                    yield node["Relation Name"], text


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
