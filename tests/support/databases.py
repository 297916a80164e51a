"""Real databases for tests: SQLite files, and a PostgreSQL cluster of our own.

``INTU_TEST_POSTGRES`` may name a running server instead (a URL whose user may create
databases). Without it the programs of an installed PostgreSQL make a cluster in a temporary
folder, reached by a socket in that folder, which goes when the tests end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from intu_fhir.db.session import MAY_LOSE_DATA
from tests.support.data import REPOSITORY
from tests.support.programs import find, missing

KINDS = ("sqlite", "postgresql")
READER_ROLE = REPOSITORY / "deploy" / "postgresql" / "reader-role.sql"
_START_SECONDS = 60.0


def postgresql_program(name: str) -> str:
    """Return the path of a program of the newest PostgreSQL here, or skip the test."""
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(versions, key=lambda path: float(path.parts[-3]), default=None)
    path = str(newest) if newest else find(name)
    if path is None:
        missing("postgresql")
    return path


class PostgresServer:
    """A running server in which tests make databases."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._prefix = f"intu_test_{uuid.uuid4().hex[:8]}"

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        server, _, tail = self._url.partition("://")[2].partition("/")
        options = tail.partition("?")[2]
        return f"postgresql+psycopg://{server}/{database}" + (f"?{options}" if options else "")

    def create(self, template: str = "template0") -> str:
        """Make a new database and return its name; a copy of ``template`` takes milliseconds."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def wait(self) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return self._run("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Leave a server that is not ours running."""

    def _run(self, statement: str, *names: str) -> None:
        """Run one statement outside a transaction, as CREATE DATABASE must."""
        address = self.url("postgres").replace("+psycopg", "", 1)
        with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


class PostgresCluster(PostgresServer):
    """A server of our own, without TCP and (unless asked for) without fsync.

    Args:
        within: what comes before its command, such as to run it on another host.
        listen: TCP address to listen on, or ``""``.
        allow: network that may connect there without a password.
    """

    def __init__(
        self, *, fsync: bool = False, within: Sequence[str] = (), listen: str = "", allow: str = ""
    ) -> None:
        initdb, postgres = postgresql_program("initdb"), postgresql_program("postgres")
        # A socket's path may have 107 characters; pytest's own folders can be longer.
        self.folder = Path(tempfile.mkdtemp(prefix="intu-pg-"))
        super().__init__(f"postgresql://postgres@/postgres?host={self.folder}")
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        data = f"{self.folder}/data"
        trust = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
        command = [*_as_postgres(), initdb, "--no-sync", *trust, f"--pgdata={data}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if allow:
            with Path(data, "pg_hba.conf").open("a", encoding="ascii") as rules:
                rules.write(f"host all all {allow} trust\n")
        durable = f"fsync={'on' if fsync else 'off'}"
        if not fsync:
            os.environ[MAY_LOSE_DATA] = "1"  # for the programs that tests start, too
        server = (postgres, "-D", data, "-k", str(self.folder), "-h", listen, "-c", durable)
        self._command = [*within, *_as_postgres(), *server]
        self.start()

    def start(self) -> None:
        """Start the server, also after a crash."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.wait()

    def processes(self) -> tuple[int, ...]:
        """Return the process ids of the server and its children."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return self._process.pid, *map(int, children.read_text().split())

    def crash(self) -> None:
        """Kill every process of the server at once, as the end of its machine would."""
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._process.send_signal(signal.SIGQUIT)  # at once: nothing here is kept
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _as_postgres() -> list[str]:
    """Return what runs a program as the user ``postgres``; the server refuses to be root's.

    ``--pdeathsig`` ends the server even where the tests are killed.
    """
    setpriv = find("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig=QUIT"] if setpriv else []
    if setpriv is None:
        missing("setpriv")
    return [setpriv, "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT"]


def start_postgres() -> PostgresServer:
    """Return the server that the tests use: the one named by the environment, or our own."""
    url = os.environ.get("INTU_TEST_POSTGRES")
    return PostgresServer(url) if url else PostgresCluster()


def run_script(url: str, script: Path, **variables: str) -> None:
    """Run a script of ours by psql, as an administrator does; it has to say nothing."""
    psql = postgresql_program("psql")
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = [f"--variable={name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        [psql, "--no-psqlrc", "--quiet", address, *options, f"--file={script}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def make_reader(url: str, role: str = "intu_test_page") -> str:
    """Make the role that the web page asks SQL as; return the URL of the database with it."""
    run_script(url, READER_ROLE, reader=role, tables="yes")
    return make_url(url).set(username=role, password=None).render_as_string(hide_password=False)


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite file."""
    return f"sqlite:///{path}"
