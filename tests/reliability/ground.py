"""Durable databases for runs that take the machine's word for nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.db import migrate
from tests.support.databases import PostgresCluster, sqlite_url
from tests.support.receiver_process import Order


@dataclass(frozen=True)
class Ground:
    """A database at head and a folder, gone when the run ends.

    Args:
        cluster: the server, where there is one.
    """

    url: str
    folder: Path
    cluster: PostgresCluster | None = None

    def order(self, mutant: str = "", *, wait_seconds: float = 20.0) -> Order:
        """Return what a receiver on this ground shall be."""
        files, log = str(self.folder / "files"), str(self.folder / "log")
        return Order(self.url, files, log, mutant=mutant, wait_seconds=wait_seconds)

    def server_processes(self) -> tuple[int, ...]:
        """Return the processes of the database server."""
        return () if self.cluster is None else self.cluster.processes()


@contextmanager
def ground(kind: str) -> Iterator[Ground]:
    """Give an empty ground on ``sqlite`` or ``postgresql``, which syncs as in production."""
    with tempfile.TemporaryDirectory(prefix="intu-ground-") as folder:
        if kind == "sqlite":
            url = sqlite_url(Path(folder) / "staging.db")
            migrate.upgrade(url)
            yield Ground(url, Path(folder))
            return
        cluster = PostgresCluster(fsync=True)
        try:
            url = cluster.url(cluster.create())
            migrate.upgrade(url)
            yield Ground(url, Path(folder), cluster)
        finally:
            cluster.stop()
