"""Statements for the path of every image: compiled once, then run by the driver itself.

SQLAlchemy builds, keys and looks up a statement each time it is executed, which takes longer than
SQLite needs to run it. Here that happens once for each dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import Select

Row = tuple[Any, ...]
Values = Mapping[str, Any]
Statement = UpdateBase | Select[Any]


class Prepared:
    """One statement, on either database.

    Args:
        build: makes the statement for the dialect of a connection.
        columns: for an INSERT, the columns that each row gives.
    """

    def __init__(
        self, build: Callable[[Connection], Statement], columns: Sequence[str] = ()
    ) -> None:
        self._build = build
        self._columns = list(columns) or None
        self._by_dialect: dict[str, _Compiled] = {}

    def __call__(self, connection: Connection, *rows: Values) -> list[Row]:
        """Run it once for each of ``rows``; return all that they return, in order."""
        if not rows:
            return []
        compiled = self._by_dialect.get(connection.dialect.name) or self._compiled(connection)
        if not connection.in_transaction():
            connection.begin()  # or SQLAlchemy sees nothing to commit
        try:
            cursor = connection.connection.cursor()
            try:
                return compiled.run(cursor, rows)
            finally:
                cursor.close()
        except connection.dialect.loaded_dbapi.Error as error:
            raise _wrapped(error, connection) from error

    def _compiled(self, connection: Connection) -> _Compiled:
        compiled = _Compiled(self._build(connection), connection.dialect, self._columns)
        self._by_dialect[connection.dialect.name] = compiled
        return compiled


def run_as_it_is(connection: Connection, text: str) -> None:
    """Run a statement without values that returns nothing."""
    try:
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(text)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _wrapped(error, connection) from error


def _wrapped(error: Any, connection: Connection) -> Exception:
    """Return a driver's error as SQLAlchemy raises it, without statement and values."""
    dialect, driver = connection.dialect, connection.connection.driver_connection
    is_lost: bool = dialect.is_disconnect(error, driver, None)
    wrapped: Exception = sa.exc.DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=dialect,
    )
    return wrapped


class _Compiled:
    """The text of a statement, and what turns values into what the driver takes."""

    def __init__(
        self, statement: Statement, dialect: sa.Dialect, columns: list[str] | None
    ) -> None:
        self._in_one_go = dialect.name == "postgresql"
        if dialect.name == "sqlite":
            dialect = sqlite.dialect(paramstyle="named")
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        self._text = str(compiled)
        binds = {name: compiled.binds[name] for name in compiled.params}
        self._constants = {n: bind.value for n, bind in binds.items() if not bind.required}
        self._converters = {
            name: convert
            for name, bind in binds.items()
            if (convert := bind.type.dialect_impl(dialect).bind_processor(dialect))
        }

    def run(self, cursor: Any, rows: Sequence[Values]) -> list[Row]:
        bound = [self._bound(row) for row in rows]
        if self._in_one_go and len(bound) > 1:
            # psycopg sends them all before it waits for the first answer.
            cursor.executemany(self._text, bound, returning=True)
            returned = _returned(cursor)
            while cursor.nextset():
                returned += _returned(cursor)
            return returned
        returned = []
        for values in bound:
            cursor.execute(self._text, values)
            returned += _returned(cursor)
        return returned

    def _bound(self, row: Values) -> dict[str, Any]:
        bound = {**self._constants, **row}
        for name, convert in self._converters.items():
            bound[name] = convert(bound[name])
        return bound


def _returned(cursor: Any) -> list[Row]:
    return cursor.fetchall() if cursor.description else []
