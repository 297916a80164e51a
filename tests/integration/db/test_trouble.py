"""What comes of errors of the database: it is away for a moment, or something is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from intu_fhir.db.prepared import run_as_it_is
from intu_fhir.db.session import Database
from intu_fhir.db.trouble import database_errors
from intu_fhir.errors import StoreUnavailable
from tests.support.clock import FakeClock
from tests.support.pipeline import Pipeline

_MARK = sa.text("DELETE FROM holds")
_ENDED = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def database_kind() -> str:
    """SQLite has no server that could go away."""
    return "postgresql"


def _become_a_standby(connection: sa.Connection) -> None:
    connection.execute(sa.text("SET TRANSACTION READ ONLY"))
    connection.execute(_MARK)


def _be_ended(connection: sa.Connection) -> None:
    connection.execute(_ENDED)


def _be_ended_and_forget(connection: sa.Connection) -> None:
    """Lose the connection, and be told no more than psycopg's ``got no result from the query``."""
    with pytest.raises(sa.exc.OperationalError):
        run_as_it_is(connection, str(_ENDED))
    raise sa.exc.DBAPIError.instance(
        None,
        None,
        psycopg.InternalError("got no result from the query"),
        psycopg.Error,
        connection_invalidated=True,
    )


@pytest.mark.parametrize("lose", [_become_a_standby, _be_ended, _be_ended_and_forget])
def test_a_worker_waits_for_a_database_that_is_away(
    database: Database, clock: FakeClock, lose: Callable[[sa.Connection], None]
) -> None:
    """However the driver calls it, the worker waits and goes on; it is no fault of its own."""
    runner = Pipeline(database, clock).runner()

    def write() -> bool:
        with database.write() as connection:
            lose(connection)
        return True

    with capture_logs() as logs:
        assert not runner.guard("build", write)
    assert [line["event"] for line in logs] == ["worker_waits"]
    with database.write() as connection:
        connection.execute(_MARK)


def test_a_statement_of_the_driver_itself_tells_a_lost_connection(database: Database) -> None:
    """What runs past SQLAlchemy says whether the connection is lost, as all else does."""
    with database.engine.connect() as connection:
        with pytest.raises(sa.exc.OperationalError) as told:
            run_as_it_is(connection, str(_ENDED))
        assert told.value.connection_invalidated
        connection.invalidate()


def test_a_mistake_of_ours_stays_one(database: Database) -> None:
    """A wrong statement is no database that is away: nobody is to wait for it."""
    wrong = sa.text("SELECT nonsense")
    with (
        pytest.raises(sa.exc.ProgrammingError),
        database_errors(),
        database.engine.connect() as connection,
    ):
        connection.execute(wrong)


def test_a_standby_is_named(database: Database) -> None:
    """Who is told of a database that can only be read is told what to do."""
    words = r"can only be read.*name the primary"
    with pytest.raises(StoreUnavailable, match=words), database.write() as connection:
        _become_a_standby(connection)


@pytest.mark.parametrize(
    "said", ["unable to open database file", "attempt to write a readonly database"]
)
def test_a_file_that_this_user_may_not_write_is_no_lack_of_space(said: str) -> None:
    """A volume that is root's, or a file that root's shell has made, is told as what it is."""
    refused = sa.exc.OperationalError("", {}, sqlite3.OperationalError(said))
    with pytest.raises(StoreUnavailable, match="this user may read and write"), database_errors():
        raise refused
