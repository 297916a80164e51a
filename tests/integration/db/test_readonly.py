"""A person's own SQL can read everything and change nothing."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.readonly import RefusedQuery, read_only_query
from intu_fhir.db.session import Database
from intu_fhir.db.tables import associations
from intu_fhir.errors import StoreUnavailable
from tests.support.clock import START


@pytest.fixture
def url(database: Database) -> str:
    """Give the URL of a database with one association."""
    with database.write() as connection:
        connection.execute(
            associations.insert().values(
                association_id="a1", kind="network", channel="c", started_at=START
            )
        )
    return database.url


def _run(url: str, statement: str, **options: Any) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    with read_only_query(url, statement, **options) as result:
        return result.columns, list(result.rows)


def _left(url: str) -> list[tuple[Any, ...]]:
    return _run(url, "SELECT association_id, channel FROM associations")[1]


def test_rows_and_column_names(url: str) -> None:
    """A SELECT gives its columns and rows; a percent sign is a percent sign."""
    columns, rows = _run(
        url, "SELECT channel AS c, 1 AS one FROM associations WHERE kind LIKE 'n%'"
    )
    assert columns == ("c", "one")
    assert rows == [("c", 1)]


def test_no_rows_still_have_columns(url: str) -> None:
    """An empty result keeps its column names."""
    assert _run(url, "SELECT channel FROM associations WHERE 1 = 0") == (("channel",), [])


def test_with_and_semicolon(url: str) -> None:
    """A WITH query and a closing semicolon are fine."""
    assert _run(url, "WITH x AS (SELECT 5 AS a) SELECT a FROM x;")[1] == [(5,)]


WRITES = [
    "DELETE FROM associations",
    "UPDATE associations SET channel = 'x'",
    "DROP TABLE instances",
    "CREATE TABLE t (a int)",
    "CREATE TEMP TABLE t (a int)",
    "WITH d AS (DELETE FROM associations RETURNING 1) SELECT * FROM d",
    "DELETE FROM associations RETURNING association_id",
    "SELECT 1; DELETE FROM associations",
    "COMMIT; DROP TABLE instances",
    "ROLLBACK; DELETE FROM associations; SELECT 1",
    "COMMIT",
    "BEGIN",
    "",
]
SQLITE_WRITES = [
    "ATTACH DATABASE '{folder}/other.db' AS other",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = ON",
    "VACUUM INTO '{folder}/other.db'",
    "VACUUM",
    "SELECT load_extension('x')",
    "SELECT hex(fts3_tokenizer('simple'))",
    "SELECT zeroblob(500000000)",
    "SELECT writefile('{folder}/other.db', 'x')",
]
POSTGRESQL_WRITES = [
    "SET TRANSACTION READ WRITE",
    "SET default_transaction_read_only = off",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "DO $$ BEGIN COMMIT; DELETE FROM associations; END $$",
    "COPY associations TO '{folder}/other.db'",
    "COPY (SELECT 1) TO PROGRAM 'touch {folder}/other.db'",
    "COPY associations TO STDOUT",
    "SELECT nextval('studies_study_key_seq')",
    "EXPLAIN ANALYZE DELETE FROM associations",
    "LISTEN x",
]


@pytest.mark.parametrize("statement", WRITES)
def test_nothing_is_written(url: str, statement: str) -> None:
    """Statements that write, several statements and transaction commands are refused."""
    with pytest.raises(RefusedQuery):
        _run(url, statement)
    assert _left(url) == [("a1", "c")]


@pytest.mark.parametrize(
    ("kind", "statement"),
    [*[("sqlite", text) for text in SQLITE_WRITES]]
    + [("postgresql", text) for text in POSTGRESQL_WRITES],
)
def test_ways_around_of_each_database(
    url: str, database_kind: str, kind: str, statement: str, tmp_path: Path
) -> None:
    """What only one database knows is refused there too, and no file appears."""
    if kind != database_kind:
        return
    with pytest.raises(RefusedQuery):
        _run(url, statement.format(folder=tmp_path))
    assert _left(url) == [("a1", "c")]
    assert not (tmp_path / "other.db").exists()


def test_what_a_function_does_is_rolled_back(url: str, database: Database) -> None:
    """PostgreSQL lets some functions write in a read-only transaction; it is never committed."""
    if not database.is_sqlite:
        _run(url, "SELECT lo_create(4711)")
        assert _run(url, "SELECT count(*) FROM pg_largeobject_metadata")[1] == [(0,)]


def test_a_wrong_statement_is_explained(url: str) -> None:
    """Wrong SQL gives the database's own words."""
    with pytest.raises(RefusedQuery, match="nowhere"):
        _run(url, "SELECT * FROM nowhere")


def test_time_is_limited(url: str) -> None:
    """A statement that never ends is ended."""
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT count(*) FROM n WHERE i < 0"
    )
    started = time.monotonic()
    with pytest.raises(RefusedQuery, match="too long"):
        _run(url, endless, timeout_seconds=0.3)
    assert time.monotonic() - started < 5


def test_rows_come_one_by_one(url: str) -> None:
    """The first rows of an endless result can be taken, the rest is never made."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    with read_only_query(url, endless, timeout_seconds=20) as result:
        assert list(itertools.islice(result.rows, 3)) == [(1,), (2,), (3,)]


def test_times_and_json_are_readable(url: str, database: Database) -> None:
    """Times come in UTC; JSON can be asked by the database's own functions."""
    (value,) = _run(url, "SELECT started_at FROM associations")[1][0]
    assert str(value).startswith("2024-03-01 12:00:00")
    path = "->> 'a'" if database.is_sqlite else "::jsonb ->> 'a'"
    assert _run(url, f"SELECT '{json.dumps({'a': 'b'})}' {path}")[1] == [("b",)]


def test_reading_goes_on_while_something_writes(url: str, database: Database) -> None:
    """A writer in the middle of its transaction does not stop a reader."""
    with database.write() as connection:
        connection.execute(associations.update().values(channel="changing"))
        assert _left(url) == [("a1", "c")]


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """Neither database is made by asking it."""
    with pytest.raises(StoreUnavailable):
        _run(f"sqlite:///{tmp_path / 'none.db'}", "SELECT 1")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StoreUnavailable):
        _run("sqlite:////nowhere/at/all.db", "SELECT 1")
    with pytest.raises(StoreUnavailable):
        _run("postgresql+psycopg://x@127.0.0.1:1/x", "SELECT 1")


def test_long_values_do_not_outrun_the_clock(tmp_path: Path) -> None:
    """SQLite ends a statement in time whose every row is a long value, however few rows it has."""
    file = tmp_path / "empty.db"
    file.touch()
    rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 200)"
    statement = f"{rows} SELECT sum(length(randomblob(1000000 + x))) FROM c"
    with pytest.raises(RefusedQuery, match="took too long"):
        _run(f"sqlite:///{file}", statement, timeout_seconds=0.1)
