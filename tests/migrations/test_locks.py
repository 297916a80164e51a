"""What each migration locks while it reads: receivers and workers write meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from tests.support.databases import PostgresServer

_STRONG = """SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind IN ('r', 'p')
    AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"""
_SCANS = "SELECT relname, seq_scan FROM pg_stat_xact_user_tables"
_PLAIN_INDEX = re.compile(r"\s*(CREATE (UNIQUE )?INDEX|DROP INDEX|REINDEX)(?!.*CONCURRENTLY)", re.S)
_ON = re.compile(r"\bON (\w+)")


@dataclass
class Watch:
    """What one connection locks and reads, statement by statement.

    Args:
        tables: those that were there before, with the names of their indexes.
        faults: statements that keep writers out for as long as a table is read.
    """

    tables: set[str]
    indexes: set[str]
    faults: list[str] = field(default_factory=list)
    _scans: dict[str, int] = field(default_factory=dict)
    _read: list[str] = field(default_factory=list)

    def before(self, connection: sa.Connection, *_: Any) -> None:
        """Note what has been read so far."""
        self._scans = dict(_ask(connection, _SCANS))

    def after(self, connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        """Judge a statement, and all of its transaction before it."""
        scans = dict(_ask(connection, _SCANS))
        self._read += [
            name for name in self.tables if scans.get(name, 0) > self._scans.get(name, 0)
        ]
        locked = {name for (name,) in _ask(connection, _STRONG)} & self.tables
        if (locked and self._read) or self._is_plain_index(statement):
            self.faults.append(f"{statement} [holds {locked}, has read {self._read}]")

    def ended(self, *_: Any) -> None:
        """Forget what a transaction read that has ended, and its locks with it."""
        self._read = []

    def _is_plain_index(self, statement: str) -> bool:
        if not _PLAIN_INDEX.match(statement):
            return False
        on = _ON.search(statement)
        there = {on[1]} & self.tables if on else set(statement.split()) & self.indexes
        return bool(there)


def _ask(connection: sa.Connection, query: str) -> list[tuple[Any, ...]]:
    """Ask on the same connection, past whoever listens to it."""
    with connection.connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


@contextmanager
def _watched(url: str) -> Iterator[Watch]:
    """Watch what this process does to a database."""
    database = Database(url)
    with database.read() as connection:
        found = sa.inspect(connection)
        tables = set(found.get_table_names()) - {"alembic_version"}
        indexes = {str(one["name"]) for table in tables for one in found.get_indexes(table)}
    database.close()
    watch = Watch(tables, indexes)
    events = (
        ("before_cursor_execute", watch.before),
        ("after_cursor_execute", watch.after),
        ("commit", watch.ended),
        ("rollback", watch.ended),
    )
    for name, listener in events:
        sa.event.listen(sa.Engine, name, listener)
    try:
        yield watch
    finally:
        for name, listener in events:
            sa.event.remove(sa.Engine, name, listener)


def test_no_migration_keeps_writers_out_while_it_reads(postgres_server: PostgresServer) -> None:
    """Up to head, nothing that reads a table that was there holds a lock that stops its writers."""
    url = postgres_server.url(postgres_server.create())
    script = ScriptDirectory.from_config(migrate._config())
    first, *others = reversed([one.revision for one in script.walk_revisions()])
    migrate.upgrade(url, first)
    faults = {}
    for revision in others:
        with _watched(url) as watch:
            migrate.upgrade(url, revision)
        faults[revision] = watch.faults
    assert {revision: found for revision, found in faults.items() if found} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ix_mutant ON instances (file)",
        "DROP INDEX ix_studies_study_date",
        "ALTER TABLE audit_events ALTER objects TYPE bigint",
        "ALTER TABLE instances ALTER damaged_at SET NOT NULL",
        "ALTER TABLE instances ADD CONSTRAINT mutant CHECK (file <> '')",
        "ALTER TABLE studies ADD mutant float NOT NULL DEFAULT random()",
        "ALTER TABLE attempts ADD CONSTRAINT mutant FOREIGN KEY (number) REFERENCES studies",
        "LOCK TABLE studies IN SHARE MODE; SELECT count(*) FROM instances",
    ],
)
def test_what_keeps_writers_out_is_seen(postgres_server: PostgresServer, statement: str) -> None:
    """The test above fails for each kind of statement that stops writers for a scan."""
    url = postgres_server.url(postgres_server.create())
    migrate.upgrade(url)
    database = Database(url)
    with _watched(url) as watch, database.engine.connect() as connection:
        operations = Operations(MigrationContext.configure(connection))
        for part in statement.split("; "):
            operations.execute(part)
        connection.rollback()
    database.close()
    assert watch.faults


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE instances ADD mutant text NOT NULL DEFAULT ''",
        "ALTER TABLE instances ADD CONSTRAINT mutant CHECK (file <> '') NOT VALID",
        "CREATE TABLE mutant (study_key bigint REFERENCES studies)",
        "UPDATE studies SET patient_id = '' WHERE patient_id = 'nobody'",
    ],
)
def test_what_lasts_for_moments_is_allowed(postgres_server: PostgresServer, statement: str) -> None:
    """A lock that reads nothing, and a reading that stops nobody, are no faults."""
    url = postgres_server.url(postgres_server.create())
    migrate.upgrade(url)
    database = Database(url)
    with _watched(url) as watch, database.engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.rollback()
    database.close()
    assert watch.faults == []
