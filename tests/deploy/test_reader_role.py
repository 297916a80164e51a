"""The role that `deploy/postgresql/reader-role.sql` makes reads the views, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from intu_fhir.db.tables import metadata
from intu_fhir.db.views import VIEWS
from tests.docs.pages import REPOSITORY
from tests.support.databases import PostgresServer, postgresql_program

SCRIPT = REPOSITORY / "deploy" / "postgresql" / "reader-role.sql"
ROLE = "intu_test_reader"


@pytest.fixture
def reader(
    postgres_server: PostgresServer, migrated_postgresql: str
) -> Iterator[psycopg.Connection]:
    """A session of the role, made by two runs of the script."""
    name = postgres_server.create(migrated_postgresql)
    url = make_url(postgres_server.url(name)).set(drivername="postgresql")
    for _ in range(2):
        _run_script(url.render_as_string(hide_password=False))
    own = url.set(username=ROLE, password=None).render_as_string(hide_password=False)
    with psycopg.connect(own, autocommit=True, connect_timeout=5) as connection:
        yield connection
    postgres_server.drop(name)
    admin = make_url(postgres_server.url("postgres")).set(drivername="postgresql")
    with psycopg.connect(admin.render_as_string(hide_password=False), autocommit=True) as owner:
        owner.execute(f"DROP ROLE {ROLE}")


def _run_script(url: str) -> None:
    psql = postgresql_program("psql")
    done = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", url, f"--variable=reader={ROLE}", f"--file={SCRIPT}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_reads_every_view_and_no_table(reader: psycopg.Connection) -> None:
    """Each view can be read; each table is refused, even when the session may write."""
    for view in VIEWS:
        reader.execute(f"SELECT * FROM {view.name}")
    reader.execute("SET default_transaction_read_only = off")
    for table in (*metadata.tables, "alembic_version"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT 1 FROM {table}")


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
