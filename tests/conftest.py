"""Fixtures of all tests, and the rule that a test says what it shows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from tests.support import object_stores
from tests.support.certificates import Authority
from tests.support.clock import FakeClock
from tests.support.databases import KINDS, PostgresServer, sqlite_url, start_postgres
from tests.support.object_stores import ObjectStoreServer, start_object_store

# How long a neighbour on the machine makes an example take says nothing about the code.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

_RELIABILITY = Path(__file__).parent / "reliability"
"""Proofs that kill and freeze at chosen moments, which a busy neighbour moves."""


@pytest.hookimpl(tryfirst=True)  # so that -m sees the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that do not open with one line of behaviour; try timed ones up to thrice."""
    for item in items:
        is_timed = item.get_closest_marker("timed") is not None
        if is_timed:
            item.add_marker(pytest.mark.flaky(reruns=2))
        if is_timed or _RELIABILITY in item.path.parents:
            item.add_marker(pytest.mark.alone)
    silent = [item.nodeid for item in items if not _says_behaviour(item)]
    if silent:
        listed = "\n  ".join(sorted({name.partition("[")[0] for name in silent}))
        raise pytest.UsageError(f"open these tests with one line of behaviour:\n  {listed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test that needs something into a failure where all has to be there."""
    report = yield
    if report.skipped and os.environ.get("INTU_CI") == "1" and "needs " in str(report.longrepr):
        report.outcome = "failed"
    return report


def _says_behaviour(item: pytest.Item) -> bool:
    """Tell whether the first line of the docstring is a statement of some words."""
    text = getattr(getattr(item, "function", None), "__doc__", None) or ""
    return len(text.partition("\n")[0].split()) >= 3


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL, started when the first test asks for it."""
    server = start_postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_postgresql(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database at head that no test writes to: others are copied from it."""
    name = postgres_server.create()
    migrate.upgrade(postgres_server.url(name))
    yield name
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file at head that no test writes to: others are copied from it."""
    path = tmp_path_factory.mktemp("template") / "staging.db"
    migrate.upgrade(sqlite_url(path))
    return path


@pytest.fixture(scope="session", params=object_stores.KINDS)
def object_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObjectStoreServer]:
    """A running server that speaks S3, of each kind."""
    server = start_object_store(request.param, tmp_path_factory.mktemp("object-store"))
    yield server
    server.stop()


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """``sqlite``, then ``postgresql``: a test that asks for a database runs on both."""
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """The URL of an empty database."""
    if database_kind == "sqlite":
        yield sqlite_url(tmp_path / "empty.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    yield from _lend(server)


@pytest.fixture
def migrated_database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """The URL of a database at head without a row."""
    template = request.getfixturevalue(f"migrated_{database_kind}")
    if database_kind == "sqlite":
        yield sqlite_url(Path(shutil.copyfile(template, tmp_path / "staging.db")))
        return
    yield from _lend(request.getfixturevalue("postgres_server"), template)


@pytest.fixture
def database(migrated_database_url: str) -> Iterator[Database]:
    """An open staging database at head without a row."""
    database = Database(migrated_database_url)
    yield database
    database.close()


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Keep what a test sets up for logs from the tests after it, and logs from standard output.

    A site of a test runs in the same process as a command whose output is looked at.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority that servers and clients of the test trust."""
    return Authority(tmp_path / "pki")


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    return FakeClock()


def _lend(server: PostgresServer, template: str = "template0") -> Iterator[str]:
    name = server.create(template)
    yield server.url(name)
    server.drop(name)
