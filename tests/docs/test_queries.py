"""The queries of the how-to page run as they stand, on both databases, and find something."""

from __future__ import annotations

import pytest

from intu_fhir.db.readonly import read_only_query
from intu_fhir.db.session import Database
from tests.docs.pages import REPOSITORY, blocks, read
from tests.support.lived import live

PAGE = REPOSITORY / "docs" / "how-to" / "query-with-sql.md"
QUERIES = [block.text for block in blocks(read(PAGE), "sql")]


def test_there_are_queries() -> None:
    """The page offers at least ten queries."""
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: " ".join(query.split())[:60])
def test_query_finds_what_is_there(query: str, database: Database) -> None:
    """Each query, asked as `intu-fhir sql` asks, finds rows in a database with life in it."""
    if _meant_for_another(query, database):
        return
    with database.write() as connection:
        live(connection)
    with read_only_query(database.url, query) as result:
        assert list(result.rows)


def test_few_queries_are_meant_for_one_database() -> None:
    """A query that the other database cannot run stands beside its twin for that one."""
    special = [query.partition("\n")[0] for query in QUERIES if query.startswith("-- ")]
    assert sorted(special) == ["-- PostgreSQL", "-- SQLite"]


def _meant_for_another(query: str, database: Database) -> bool:
    return query.startswith("-- PostgreSQL" if database.is_sqlite else "-- SQLite")
