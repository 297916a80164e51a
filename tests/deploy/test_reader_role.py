"""The role that `deploy/postgresql/reader-role.sql` makes reads the views, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from intu_fhir.db.readonly import ADMINISTRATORS_ONLY
from intu_fhir.db.tables import metadata
from intu_fhir.db.views import VIEWS
from tests.support.databases import READER_ROLE, PostgresServer, run_script

ROLE = "intu_test_reader"


def _session(server: PostgresServer, template: str, **options: str) -> Iterator[psycopg.Connection]:
    """Give a session of the role, made by two runs of the script, and leave nothing of it."""
    name = server.create(template)
    url = make_url(server.url(name)).set(drivername="postgresql")
    for _ in range(2):
        run_script(server.url(name), READER_ROLE, reader=ROLE, **options)
    own = url.set(username=ROLE, password=None).render_as_string(hide_password=False)
    with psycopg.connect(own, autocommit=True, connect_timeout=5) as connection:
        yield connection
    server.drop(name)
    admin = make_url(server.url("postgres")).set(drivername="postgresql")
    with psycopg.connect(admin.render_as_string(hide_password=False), autocommit=True) as owner:
        owner.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def reader(
    postgres_server: PostgresServer, migrated_postgresql: str
) -> Iterator[psycopg.Connection]:
    """A session of the role as it is made for everybody."""
    yield from _session(postgres_server, migrated_postgresql)


@pytest.fixture
def page_reader(
    postgres_server: PostgresServer, migrated_postgresql: str
) -> Iterator[psycopg.Connection]:
    """A session of the role as it is made for the web page."""
    yield from _session(postgres_server, migrated_postgresql, tables="yes")


def test_it_reads_every_view_and_no_table(reader: psycopg.Connection) -> None:
    """Each view can be read; each table is refused, even when the session may write."""
    for view in VIEWS:
        reader.execute(f"SELECT * FROM {view.name}")
    reader.execute("SET default_transaction_read_only = off")
    for table in (*metadata.tables, "alembic_version"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT 1 FROM {table}")


def test_for_the_page_it_reads_all_but_what_administrators_see(
    page_reader: psycopg.Connection,
) -> None:
    """With tables=yes it reads tables too, but neither the audit trail nor the tokens."""
    for table in set(metadata.tables) - ADMINISTRATORS_ONLY:
        page_reader.execute(f"SELECT * FROM {table}")
    for table in (*ADMINISTRATORS_ONLY, "alembic_version"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            page_reader.execute(f"SELECT 1 FROM {table}")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO removals VALUES ('a', now())",
        "DELETE FROM v_studies",
        "UPDATE v_series SET modality = 'MR'",
        "CREATE TABLE mine (a integer)",
        "CREATE TEMPORARY TABLE mine (a integer)",
        "TRUNCATE studies",
        "DROP VIEW v_studies",
        "COPY (SELECT 1) TO '/dev/null'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "CREATE ROLE another",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT nextval('studies_study_key_seq')",
    ],
)
def test_it_writes_nothing(reader: psycopg.Connection, statement: str) -> None:
    """It is refused whatever changes something, with its read-only setting switched off."""
    reader.execute("SET default_transaction_read_only = off")
    with pytest.raises(
        (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
    ):
        reader.execute(statement)


def test_it_is_bounded(reader: psycopg.Connection) -> None:
    """A session of it reads only, and no statement runs for long."""
    for setting, value in (
        ("transaction_read_only", "on"),
        ("statement_timeout", "1min"),
        ("idle_in_transaction_session_timeout", "1min"),
    ):
        assert reader.execute(f"SHOW {setting}").fetchone() == (value,)
