"""The reference pages say what the code says."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.db.tables import metadata
from tools.docs.pages import PAGES, REPOSITORY
from tools.docs.schema import meaning


@pytest.mark.parametrize("path", PAGES)
def test_page_is_up_to_date(path: str) -> None:
    """A generated page is what the code would write now; `make docs` mends it."""
    page = REPOSITORY / path
    assert page.exists(), "run `make docs` and commit the page"
    assert page.read_text(encoding="utf-8") == PAGES[path](), "run `make docs` and commit the page"


@pytest.mark.parametrize("table", metadata.tables)
def test_tables_and_columns_are_explained(table: str) -> None:
    """Every table, and every column of it, says what it holds."""
    assert metadata.tables[table].comment
    silent = [column.name for column in metadata.tables[table].columns if not meaning(column)]
    assert silent == []


def test_examples_of_sql_run(database: Database) -> None:
    """Each query that the schema page shows is valid SQL on both databases."""
    text = (REPOSITORY / "docs/reference/schema.md").read_text(encoding="utf-8")
    queries = re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)
    assert len(queries) >= 3
    with database.read() as connection:
        for query in queries:
            assert list(connection.execute(sa.text(query))) == []
