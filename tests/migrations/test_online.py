"""Upgrades while others write, and upgrades that are killed."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.tables import studies
from tests.migrations.test_migrate import add_rows, count_rows
from tests.reliability.killed_upgrade import upgrade_and_die
from tests.support.clock import START
from tests.support.schema import schema

BEFORE_INDEXES, INDEXES = "0007", "0008"


@pytest.mark.parametrize("statement", [5, 40, 80, 120])
def test_a_killed_upgrade_goes_on(database: Database, database_url: str, statement: int) -> None:
    """Whatever statement it dies at, the next upgrade reaches head, and nothing is left over."""
    assert upgrade_and_die(database_url, statement)
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == migrate.head()
    again = Database(database_url)
    with again.read() as ours, database.read() as theirs:
        assert schema(ours) == schema(theirs)
    again.close()
    assert not _invalid_indexes(database_url)


def test_killed_at_each_statement_of_an_index(database_url: str) -> None:
    """An upgrade that makes indexes beside the writers is run again from its beginning."""
    if database_url.startswith("sqlite"):
        return  # all of its migrations are one transaction
    migrate.upgrade(database_url, BEFORE_INDEXES)
    statement, killed = 1, 0
    while statement < 40 and _killed_at(database_url, statement):
        killed += 1
        migrate.upgrade(database_url, INDEXES)
        migrate.downgrade(database_url, BEFORE_INDEXES)
        statement += 3
    assert killed >= 3
    migrate.upgrade(database_url)
    assert not _invalid_indexes(database_url)


def test_killed_at_each_statement_of_a_division(database_url: str) -> None:
    """An upgrade that divides a table leaves it as it was, whole with its rows, or does it all."""
    if database_url.startswith("sqlite"):
        return  # all of its migrations are one transaction
    migrate.upgrade(database_url, "0021")
    database = Database(database_url)
    add_rows(database)
    statement = 1
    while upgrade_and_die(database_url, statement) and migrate.current(database_url) == "0021":
        assert count_rows(database)["attempts"] == 1
        statement += 4
    assert statement > 20
    assert count_rows(database)["attempts"] == 1
    migrate.upgrade(database_url)
    assert count_rows(database)["attempts"] == 1
    database.close()


def _killed_at(url: str, statement: int) -> bool:
    return upgrade_and_die(url, statement) and migrate.current(url) != migrate.head()


def _invalid_indexes(url: str) -> list[str]:
    database = Database(url)
    try:
        if database.is_sqlite:
            return []
        with database.read() as connection:
            found = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
            return list(connection.execute(sa.text(found)).scalars())
    finally:
        database.close()


def test_writers_go_on_while_an_index_is_made(database_url: str) -> None:
    """On PostgreSQL an index waits for a writer, and no other writer waits for the index."""
    migrate.upgrade(database_url, BEFORE_INDEXES)
    database = Database(database_url)
    if database.is_sqlite:
        database.close()
        return  # it has one writer at a time
    try:
        with database.write() as first:
            _add(first, "1.1")
            upgrade = threading.Thread(target=migrate.upgrade, args=(database_url, INDEXES))
            upgrade.start()
            upgrade.join(1.0)
            assert upgrade.is_alive()
            with database.write() as second:  # would fail after its lock_timeout
                second.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                _add(second, "1.2")
        upgrade.join(60)
        assert not upgrade.is_alive()
    finally:
        database.close()
    assert migrate.current(database_url) == INDEXES


def test_a_mutant_that_locks_is_seen(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails where the index is made within a transaction."""
    database = Database(database_url)
    if database.is_sqlite:
        database.close()
        return  # it has one writer at a time
    migrate.upgrade(database_url, BEFORE_INDEXES)
    try:
        with database.write() as first, database.engine.connect() as second:
            first.exec_driver_sql("CREATE INDEX ix_locking ON studies (patient_name)")
            second.exec_driver_sql("SET lock_timeout = '1s'")
            with pytest.raises(sa.exc.OperationalError):
                _add(second, "1.2")
    finally:
        database.close()


def _add(connection: sa.Connection, uid: str) -> None:
    connection.execute(
        sa.insert(studies).values(
            study_instance_uid=uid,
            channel="radiology",
            first_received_at=START,
            last_received_at=START,
            revision=1,
        )
    )
