"""The receivers that are compared, each as a process of its own on a loopback port."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intu_fhir.app.storing import begin_anew
from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.settings.load import load_configuration
from tests.benchmarks.sender import MAX_PDU_BYTES
from tests.support.databases import PostgresCluster, sqlite_url
from tests.support.ports import free_port
from tests.support.programs import find
from tests.support.site_folder import write_site

CALLED = "BENCH_SCP"
_START_SECONDS = 60.0
_ATTEMPTS = 3
_HERE = Path(__file__).parent
# Both write their answers in two parts; with Nagle's algorithm on, each waits 40 ms for an
# acknowledgement, and nothing else could be compared.
_NO_NAGLE = (("TCP_NODELAY", "1"),)
_ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver that answers; ``pid`` is its main process, ``folder`` where it writes."""

    port: int
    pid: int
    folder: Path


@dataclass(frozen=True)
class Receiver:
    """A receiver to compare.

    Args:
        durable: what is on disk when it answers Success.
        missing: what has to be installed, with the command; empty where all is there.
        command: builds the command line from a folder of its own and a port.
        environment: what to add to the environment.
    """

    name: str
    durable: str
    missing: str
    command: Callable[[Path, int], list[str]]
    environment: tuple[tuple[str, str], ...] = ()

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        """Run it in a new folder, which goes afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="intu-bench-"))
        process, port = self._start(folder)
        try:
            yield Running(port, process.pid, folder)
        finally:
            _end(process)
            shutil.rmtree(folder, ignore_errors=True)
            os.sync()  # what it left for the disk to do must not slow the next one

    def _start(self, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
        """Start it; again on another port where one that was free is taken meanwhile."""
        for attempt in range(_ATTEMPTS):
            place, port = folder / str(attempt), free_port()
            place.mkdir()
            with (place / "log").open("wb") as log:
                process = subprocess.Popen(
                    self.command(place, port),
                    stdout=log,
                    stderr=log,
                    env=os.environ | dict(self.environment),
                    start_new_session=True,
                )
            if _listens(port, process):
                return process, port
            _end(process)
        said = (place / "log").read_text(errors="replace")[-500:]
        raise RuntimeError(f"{self.name} does not listen: {said}")


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            time.sleep(0.2)  # it may be another process that has taken the port
            return process.poll() is None
        time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a receiver and the children it made for its associations."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def raw_loop() -> Receiver:
    """A loop in C that reads, writes a file and syncs it: the limit of disk and network."""
    return _in_c("raw C loop", "file")


def raw_loop_of_all() -> Receiver:
    """The same loop, with each sync that the promise of this receiver costs."""
    return _in_c("raw C loop, all syncs", "file, directory entry and a page of a log", "all")


def _in_c(name: str, durable: str, *how: str) -> Receiver:
    missing = "" if find("gcc") else "gcc (apt install gcc)"

    def command(folder: Path, port: int) -> list[str]:
        program, files = folder / "raw_loop", folder / "files"
        files.mkdir()
        source = str(_HERE / "raw_loop.c")
        subprocess.run([str(find("gcc")), "-O2", "-o", str(program), source], check=True)
        return [str(program), str(port), str(files), *how]

    return Receiver(name, durable, missing, command)


def storescp() -> Receiver:
    """DCMTK's receiver, a process per association."""
    missing = "" if find("storescp") else "storescp (apt install dcmtk)"

    def command(folder: Path, port: int) -> list[str]:
        options = ["--fork", "+B", "-pdu", str(MAX_PDU_BYTES), "-aet", CALLED, "-od", str(folder)]
        return [str(find("storescp")), *options, str(port)]

    return Receiver("DCMTK storescp", "nothing", missing, command, _NO_NAGLE)


def pynetdicom_storescp() -> Receiver:
    """The receiver that pynetdicom ships."""

    def command(folder: Path, port: int) -> list[str]:
        options = ["-q", "-aet", CALLED, "-pdu", str(MAX_PDU_BYTES), "-od", str(folder)]
        return [sys.executable, "-m", "pynetdicom", "storescp", *options, str(port)]

    return Receiver("pynetdicom storescp", "nothing", "", command)


def orthanc() -> Receiver:
    """Orthanc with the SQLite index and the settings it is shipped with."""
    missing = "" if find("Orthanc") else "Orthanc (apt install orthanc)"

    def command(folder: Path, port: int) -> list[str]:
        return _orthanc(folder, port, {})

    return Receiver(
        "Orthanc, SQLite", "file; index follows (WAL NORMAL)", missing, command, _NO_NAGLE
    )


def orthanc_postgresql(cluster: PostgresCluster) -> Receiver:
    """Orthanc with its index in PostgreSQL and its files in a folder."""
    plugin = _ORTHANC_PLUGINS / "libOrthancPostgreSQLIndex.so"
    missing = "" if find("Orthanc") and plugin.is_file() else "apt install orthanc-postgresql"

    def command(folder: Path, port: int) -> list[str]:
        database = cluster.create()
        uri = f"postgresql://postgres@/{database}?host={cluster.folder}"
        index = {"EnableIndex": True, "EnableStorage": False, "ConnectionUri": uri, "Lock": False}
        return _orthanc(folder, port, {"PostgreSQL": index, "Plugins": [str(plugin)]})

    return Receiver("Orthanc, PostgreSQL", "file and row", missing, command, _NO_NAGLE)


def _orthanc(folder: Path, port: int, more: dict[str, object]) -> list[str]:
    settings = {
        "DicomAet": CALLED,
        "DicomPort": port,
        "HttpServerEnabled": False,
        "MaximumPduLength": MAX_PDU_BYTES,
        "StorageDirectory": str(folder / "files"),
        "IndexDirectory": str(folder / "files"),
        **more,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return [str(find("Orthanc")), str(path)]


def ours_sqlite(role: str = "receive", *, processes: int = 1) -> Receiver:
    """This receiver on SQLite; with the role ``serve``, all workers in the same process."""
    return ours(
        "SQLite", lambda folder: sqlite_url(folder / "staging.db"), role, processes=processes
    )


def ours_without_quickack() -> Receiver:
    """This receiver on a system that cannot acknowledge at once."""
    path = (("PYTHONPATH", str(_HERE / "without_quickack")),)
    one = ours_sqlite()
    return dataclasses.replace(one, name=f"{one.name}, without TCP_QUICKACK", environment=path)


def ours_postgresql(cluster: PostgresCluster, *, processes: int = 1) -> Receiver:
    """This receiver on PostgreSQL."""
    return ours("PostgreSQL", lambda _: cluster.url(cluster.create()), processes=processes)


def no_more(_: Path) -> dict[str, Any]:
    """Add nothing to the configuration of a site."""
    return {}


def ours(
    what: str,
    database: Callable[[Path], str],
    role: str = "receive",
    *,
    processes: int = 1,
    more: Callable[[Path], dict[str, Any]] = no_more,
) -> Receiver:
    """This receiver on a database that is made for each run.

    Args:
        more: what else the configuration says, from the site's folder.
    """

    def command(folder: Path, port: int) -> list[str]:
        url = database(folder)
        migrate.upgrade(url)
        source = {"type": "dicom", "host": "127.0.0.1", "port": port, "ae_title": CALLED}
        channel = {"source": source, "settle": {"quiet_seconds": 30}}
        receiver = {"processes": processes}
        site = {"receiver": receiver, **more(folder)}
        write_site(folder, database=url, port=port, channel=channel, **site)
        if "files" not in site:
            with contextlib.closing(Database(url, pool_size=1)) as rows:  # a million without files
                begin_anew(load_configuration(folder).site, rows)
        program = str(Path(sys.executable).with_name("intu-fhir"))
        return [program, role, "--config", str(folder), "--log-level", "WARNING"]

    workers = ", with all workers" if role == "serve" else ""
    workers += f", {processes} processes" if processes > 1 else ""
    durable = "file, directory entry and row"
    return Receiver(f"intu-fhir, {what}{workers}", durable, "", command)
