"""A database that would lose what it has committed is refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from intu_fhir.check.stores import check_database
from intu_fhir.db import migrate
from intu_fhir.db.session import MAY_LOSE_DATA, Database
from intu_fhir.errors import ConfigurationError, NotDurable
from intu_fhir.settings.schema import Site
from tests.support.databases import PostgresCluster, PostgresServer, sqlite_url

_KEY_DATA = b"K\x00\x00\x00\x0c"


@pytest.fixture
def cautious(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a site, where nothing may be lost."""
    monkeypatch.setenv(MAY_LOSE_DATA, "1")  # so that a cluster's own setting of it is undone
    monkeypatch.delenv(MAY_LOSE_DATA)


@contextlib.contextmanager
def cluster(*, fsync: bool) -> Iterator[str]:
    """Give the URL of an empty database of a server of our own."""
    server = PostgresCluster(fsync=fsync)
    try:
        yield server.url(server.create())
    finally:
        server.stop()


def _alter_system(url: str, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER SYSTEM {statement}")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()


def _is_refused(url: str) -> bool:
    """Ask over a new connection, as the next one of a running process."""
    database = Database(url)
    try:
        with database.read():
            return False
    except NotDurable:
        return True
    finally:
        database.close()


def test_a_server_without_fsync_is_refused(cautious: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a start nor `check` puts up with it, but for tests that say so."""
    with cluster(fsync=False) as url:
        assert not _is_refused(url)
        monkeypatch.delenv(MAY_LOSE_DATA)
        assert _is_refused(url)
        with pytest.raises(NotDurable, match="fsync off"):
            migrate.upgrade(url)
        row = check_database(Site.model_construct(database=url))
        assert (row.ok, "fsync off" in row.detail, "postgresql.conf" in row.remedy) == (
            False,
            True,
            True,
        )


def test_a_server_without_full_pages_is_refused_until_it_has_them(cautious: None) -> None:
    """A reload of the server is enough, for worse and for better."""
    with cluster(fsync=True) as url:
        assert not _is_refused(url)
        for statement, refused in (("SET full_page_writes = off", True), ("RESET ALL", False)):
            _alter_system(url, statement)
            # The server's processes hear of a reload a moment later.
            assert any(_is_refused(url) is refused for _ in range(50))


@pytest.mark.parametrize("query", ["vfs=unix-dotfile&uri=true", "vfs=unix-none&uri=true"])
def test_a_journal_other_than_wal_is_refused(tmp_path: Path, query: str) -> None:
    """SQLite says nothing where it cannot keep the log that was asked for; we do."""
    url = f"sqlite:///file:{tmp_path}/staging.db?{query}"
    with pytest.raises(ConfigurationError, match="journal_mode delete"), Database(url).read():
        pass
    with pytest.raises(ConfigurationError, match="journal_mode delete"):
        migrate.upgrade(url)


def test_a_file_in_wal_is_taken(tmp_path: Path) -> None:
    """What SQLite keeps as it should is not refused, also at the second look."""
    for _ in range(2):
        database = Database(sqlite_url(tmp_path / "staging.db"))
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        database.close()


def _pump(source: socket.socket, sink: socket.socket, *, hides: bool) -> None:
    """Pass bytes on; a pooler gives clients other keys than its server's (message K)."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            if hides and _KEY_DATA in data:
                at = data.index(_KEY_DATA) + len(_KEY_DATA)
                data, hides = data[:at] + b"\x7f\xff\xff\xff" + data[at + 4 :], False
            sink.sendall(data)
    sink.close()


@contextlib.contextmanager
def pooler(url: str, folder: Path) -> Iterator[str]:
    """Give a URL of the same database with something between it and us."""
    behind = f"{make_url(url).query['host']}/.s.PGSQL.5432"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/.s.PGSQL.5432")
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(behind)
                for source, sink, hides in ((client, server, False), (server, client, True)):
                    threading.Thread(
                        target=_pump, args=(source, sink), kwargs={"hides": hides}, daemon=True
                    ).start()

    threading.Thread(target=serve, daemon=True).start()
    yield make_url(url).update_query_dict({"host": str(folder)}).render_as_string()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_pooler_cannot_take_a_commit_back(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Behind one each write says anew that it is to be durable; a session of ours keeps it."""
    if not isinstance(postgres_server, PostgresCluster):
        pytest.skip("the server is not ours, and may have no socket here")
    url = postgres_server.url(postgres_server.create())
    for through, expected in ((url, "off"), (None, "on")):
        with contextlib.ExitStack() as stack:
            database = Database(through or stack.enter_context(pooler(url, tmp_path)), pool_size=1)
            with database.read() as connection:  # as a session that another client has left
                connection.exec_driver_sql("SET synchronous_commit = off")
                connection.commit()
            with database.write() as connection:
                shown = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
            database.close()
        assert shown == expected
