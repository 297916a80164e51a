"""How both databases find their rows on the whole way of an image."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.study_headers import load_headers
from intu_fhir.files.mark import new_mark, write_mark
from tests.benchmarks.stocked_site import fill
from tests.support.plans import asked_of_databases, plan_of, statements_of, tables_read_whole
from tests.support.running import Running, running_site
from tests.support.studies import make_study
from tests.support.waiting import wait_until

STAGED = 200_000
FULL = {
    *("associations", "association_studies", "studies", "series", "instances", "header_groups"),
    *("generations", "resources", "work", "deliveries", "attempts", "instance_deliveries"),
    *("headers_0001", "headers_0002", "attempts_0002"),
}
"""What ``fill`` fills: a small table is read whole by PostgreSQL, and rightly so."""

_READ_ONCE = {"alembic_version"}


def test_no_table_is_read_from_end_to_end(tmp_path: Path, database_url: str) -> None:
    """From the start of the site to the second version at the EHR all is found by an index."""
    is_sqlite = database_url.startswith("sqlite")
    if is_sqlite:  # it plans without looking at what is there
        migrate.upgrade(database_url)
    else:
        fill(database_url, STAGED)
        (tmp_path / "files").mkdir()
        write_mark(tmp_path / "files", new_mark())  # what is filled in has no files
    with asked_of_databases() as asked, running_site(tmp_path, database_url) as running:
        _deliver_and_deliver_again(running)
    whole = tables_read_whole(database_url, asked)
    assert (whole.keys() - _READ_ONCE if is_sqlite else whole.keys() & FULL) == set(), whole
    # Of each step something was seen.
    for words in ("INSERT INTO instances", "INTO generations", "INTO resources", "INTO attempts"):
        assert any(words in text for text in asked), words
    if not is_sqlite:
        assert "Seq Scan on series" not in _how_a_study_is_loaded(database_url)


def _how_a_study_is_loaded(url: str) -> str:
    """Return the plan with every kind of join: with a hash reading all series once looks cheap."""
    with closing(Database(url)) as database:
        with statements_of(database) as asked, database.read() as connection:
            headers = load_headers(connection, 500, acquisition_modalities=frozenset())
        assert len(headers.series) == 2
        [join, *_] = [one for one in asked if "JOIN series" in one[0]]
        return "\n".join(plan_of(database, *join))


def _deliver_and_deliver_again(running: Running) -> None:
    """Let a study come, and then a late image; ask nothing of the database meanwhile."""
    first, *others = make_study()
    running.send(others)
    wait_until(lambda: running.imaging_studies() and len(running.pacs.instances) == len(others))
    running.send([first])
    wait_until(lambda: running.imaging_studies()[0]["meta"]["versionId"] == "2")
    wait_until(lambda: len(running.pacs.instances) > len(others))


def test_a_statement_without_an_index_would_be_seen(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """The same look at plans finds who reads a table for what no index is for."""
    with (
        asked_of_databases() as asked,
        running_site(tmp_path, migrated_database_url) as running,
        running.site.app.database.read() as connection,
    ):
        connection.exec_driver_sql("SELECT detail FROM attempts WHERE detail <> ''")
    whole = tables_read_whole(migrated_database_url, asked)
    assert whole.keys() & {"attempts", "attempts_0001"}
