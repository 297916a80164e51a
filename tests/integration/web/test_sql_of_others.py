"""SQL by the web: what it shows to whom, and that it can do nothing but read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from intu_fhir.check import check
from intu_fhir.db.readonly import Reader, RefusedQuery, read_only_query
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events
from intu_fhir.web.access.roles import Role
from intu_fhir.web.saved_queries import SAVED, opened
from tests.support.clock import START, FakeClock
from tests.support.databases import PostgresServer, make_reader
from tests.support.lived import live
from tests.support.rows import rows_of
from tests.support.web import Served, give_token, serving, token_in, write_people

FOR_ADMINISTRATORS = [
    "SELECT actor FROM audit_events",
    "SELECT count(*) FROM audit_events",
    "WITH a AS (SELECT * FROM AUDIT_EVENTS) SELECT 1 FROM a",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM audit_events)",
    "SELECT sha256 FROM api_tokens",
]
OUR_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)
HARMFUL = [
    OUR_SESSIONS,
    "SELECT query_to_xml($$" + OUR_SESSIONS + "$$, true, true, '')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_reload_conf()",
    "SELECT lo_import('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
]


@contextmanager
def _served(folder: Path, url: str, **sql: Any) -> Iterator[Served]:
    people = str(write_people(folder / "people"))
    if url.startswith("postgresql"):
        sql = {"database": make_reader(url), **sql}
    with serving(folder, url, web={"users_file": people, "sql": sql}) as served:
        yield served


def _ask(client: httpx.Client, statement: str, path: str = "/sql", **more: str) -> httpx.Response:
    token = token_in(client.get("/sql").text)
    return client.post(path, data={"form_token": token, "statement": statement, **more})


def _looks(database: Database) -> list[tuple[str, str]]:
    """Return who has read the audit trail, and how."""
    rows = rows_of(database, audit_events)
    return [(row.actor, row.reason) for row in rows if row.action == "audit_read"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_the_audit_trail_is_for_administrators(
    tmp_path: Path, database: Database, role: Role
) -> None:
    """Below administrator no statement reads the trail or the tokens, by whichever way it comes."""
    with _served(tmp_path, database.url, role="viewer") as served:
        token = give_token(served, "program", role)
        with served.logged_in(role) as client, served.client(headers=token) as program:
            offered = client.get("/sql").text
            assert "<code>attempts</code>" in offered
            assert "<code>audit_events</code>" not in offered
            for statement in FOR_ADMINISTRATORS:
                assert _ask(client, statement).status_code == 400, statement
                down = _ask(client, statement, "/sql/download", kind="csv")
                assert down.status_code == 400, statement
                asked = program.post("/api/v1/sql", json={"statement": statement})
                assert asked.status_code == 400, statement
            shown = _ask(client, "SELECT count(*) AS counted FROM v_studies")
            assert shown.status_code == 200
            assert "counted" in shown.text
        assert _looks(database) == []


def test_a_predicate_shows_no_audit_trail_either(tmp_path: Path, database: Database) -> None:
    """What chooses rows for a replay is asked like any other statement by the web."""
    guess = "EXISTS (SELECT 1 FROM audit_events WHERE actor = 'administrator')"
    with _served(tmp_path, database.url) as served:
        token = give_token(served, "program", Role.OPERATOR)
        with served.client(headers=token) as program:
            for where, status in ((guess, 400), ("state = 'dead'", 200)):
                asked = program.post("/api/v1/replays/dry-run", json={"where": where})
                assert asked.status_code == status, asked.text


def test_an_administrators_look_is_a_look_at_the_trail(tmp_path: Path, database: Database) -> None:
    """On SQLite an administrator reads it by SQL, which is recorded as reading it; else nobody."""
    with _served(tmp_path, database.url) as served:
        token = give_token(served, "program", Role.ADMINISTRATOR)
        expected = 200 if database.is_sqlite else 400
        with (
            served.logged_in(Role.ADMINISTRATOR) as client,
            served.client(headers=token) as program,
        ):
            assert _ask(client, FOR_ADMINISTRATORS[0]).status_code == expected
            down = _ask(client, FOR_ADMINISTRATORS[0], "/sql/download", kind="json")
            assert down.status_code == expected
            asked = program.post("/api/v1/sql", json={"statement": FOR_ADMINISTRATORS[1]})
            assert asked.status_code == expected
            assert _ask(client, "SELECT count(*) FROM v_studies").status_code == 200
        looks = [
            ("administrator", "sql"),
            ("administrator", "sql as json"),
            ("token:program", "sql"),
        ]
        assert _looks(database) == (looks if database.is_sqlite else [])


@pytest.fixture
def postgresql(postgres_server: PostgresServer, migrated_postgresql: str) -> Iterator[str]:
    """The URL of a PostgreSQL database at head, as a superuser."""
    name = postgres_server.create(migrated_postgresql)
    yield postgres_server.url(name)
    postgres_server.drop(name)


def _address(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.mark.parametrize("statement", HARMFUL)
def test_a_statement_ends_no_session_and_reads_no_file(
    tmp_path: Path, postgresql: str, statement: str
) -> None:
    """A function that touches sessions, files or configuration of the server does nothing."""
    with (
        psycopg.connect(_address(postgresql), autocommit=True) as ours,
        _served(tmp_path, postgresql) as served,
        served.logged_in(Role.ADMINISTRATOR) as client,
    ):
        assert _ask(client, statement).status_code == 400
        assert ours.execute("SELECT 1").fetchone() == (1,)
        assert client.get("/studies").status_code == 200


def test_on_postgresql_a_reader_has_to_be_named(tmp_path: Path, postgresql: str) -> None:
    """Without web.sql.database nothing is asked with the program's rights, and the page says so."""
    with _served(tmp_path, postgresql, database=None) as served:
        token = give_token(served, "program", Role.ADMINISTRATOR)
        with served.logged_in(Role.OPERATOR) as client, served.client(headers=token) as program:
            assert "web.sql.database" in client.get("/sql").text
            refused = _ask(client, "SELECT 1")
            assert refused.status_code == 400
            assert "web.sql.database" in refused.text
            asked = program.post("/api/v1/sql", json={"statement": "SELECT 1"})
            assert (asked.status_code, "web.sql.database" in asked.text) == (400, True)
            wish = {"where": "1 = 1"}
            assert program.post("/api/v1/replays/dry-run", json=wish).status_code == 400
        rows = {row.subject: row for row in check(served.app.configuration, served.app.clock)}
        assert "SQL" in rows["sql"].detail
        assert rows["sql"].ok


TOO_MUCH = {
    "superuser": ("ALTER ROLE {0} SUPERUSER", "is a superuser"),
    "files": ("GRANT pg_read_server_files TO {0}", "member of pg_read_server_files"),
    "signals": ("GRANT pg_signal_backend TO {0}", "member of pg_signal_backend"),
    "function": ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {0}", "may run pg_read_file"),
    "owner": ("ALTER TABLE studies OWNER TO {0}", "owner of the tables"),
    "trail": ("GRANT SELECT (actor) ON audit_events TO {0}", "may read audit_events"),
}


@pytest.mark.parametrize("power", TOO_MUCH)
def test_a_reader_that_may_more_is_refused(
    tmp_path: Path, postgresql: str, power: str, clock: FakeClock
) -> None:
    """Whatever gives the role more than reading is named by the page and by `check`."""
    grant, said = TOO_MUCH[power]
    role = f"intu_test_{power}"
    with psycopg.connect(_address(postgresql), autocommit=True) as admin:
        reader = make_reader(postgresql, role)
        try:
            admin.execute(grant.format(role))
            with (
                pytest.raises(RefusedQuery, match=said),
                read_only_query(Reader(reader), "SELECT 1"),
            ):
                pass
            with _served(tmp_path, postgresql, database=reader) as served:
                rows = {row.subject: row for row in check(served.app.configuration, clock)}
            assert (rows["sql"].ok, said in rows["sql"].detail) == (False, True)
        finally:
            admin.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_query_finds_what_is_there(name: str, database: Database) -> None:
    """Each query that ships with the page runs as the page runs it, and finds rows."""
    with database.write() as connection:
        live(connection)
    url = database.url if database.is_sqlite else make_reader(database.url)
    statement = opened(SAVED[name], START + timedelta(hours=1))
    with read_only_query(Reader(url), statement) as result:
        assert list(result.rows)
