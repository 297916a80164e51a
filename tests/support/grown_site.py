"""A site on machines of its own: two receivers, three workers, PostgreSQL and an object store.

The far sides, the senders and the balancer before the receivers are in the process of the tests,
which has an address in the same network.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, studies
from intu_fhir.demo.fhir_http import Asked, Reply
from tests.support.balancer import Balancer, Behind
from tests.support.counting import CountingEhr, CountingPacs
from tests.support.databases import PostgresCluster
from tests.support.hosts import Network
from tests.support.object_stores import BUCKET, Moto
from tests.support.site_folder import write_site
from tests.support.waiting import wait_until

RECEIVERS = ("receiver1", "receiver2")
WORKERS = ("worker1", "worker2", "worker3")
DATABASE, STORE = "database", "store"
HOSTS = (*RECEIVERS, *WORKERS, DATABASE, STORE)
EHR, PACS = "ehr", "pacs"
_DICOM, _WATCH = 11_112, 8_105


@dataclass
class Held:
    """An answer that the EHR keeps back, though it has done what was asked."""

    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)


class SlowEhr(CountingEhr):
    """An EHR that can keep an answer back."""

    _held: Held | None = None

    def hold_next(self) -> Held:
        """Keep back the answer to the next ImagingStudy that is written."""
        self._held = Held()
        return self._held

    def answer(self, asked: Asked) -> Reply:
        """Answer, perhaps late."""
        reply = super().answer(asked)
        is_write = asked.method in {"PUT", "POST"} and reply.status in {200, 201}
        if is_write and (reply.resource or {}).get("resourceType") == "ImagingStudy":
            held, self._held = self._held, None
            if held is not None:
                held.reached.set()
                held.let_go.wait(90)
        return reply


@dataclass
class GrownSite:
    """The machines, what runs on them, and both far sides."""

    folder: Path
    net: Network
    database: Database
    store: Moto
    ehr: SlowEhr
    pacs: CountingPacs
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start ``receive`` or ``worker`` on its host, and wait until it is ready."""
        self.launch(name)
        self.wait(name)

    def launch(self, name: str) -> None:
        """Start ``receive`` or ``worker`` on its host."""
        role = "receive" if name in RECEIVERS else "worker"
        watch = f"{self.net[name].address}:{_WATCH}"
        command = [sys.executable, "-m", "intu_fhir.cli", role]
        command += ["--config", str(self.folder / name), "--watch", watch]
        with self._log(name).open("ab") as log:
            self.running[name] = self.net[name].start(command, log, _environment())

    def wait(self, name: str) -> None:
        """Wait until a host says that it is ready."""
        wait_until(lambda: self.asked(name, "readyz") == httpx.codes.OK, 60, f"{name} to be ready")

    def kill(self, name: str) -> None:
        """End a process as the end of its machine would."""
        self.running[name].kill()
        self.running.pop(name).wait()

    def terminate(self, name: str) -> None:
        """Ask a process to stop."""
        self.running[name].send_signal(signal.SIGTERM)

    def asked(self, name: str, what: str) -> int:
        """Return the HTTP status that a host answers; 0 = no answer."""
        url = f"http://{self.net[name].address}:{_WATCH}/{what}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url, timeout=3, trust_env=False).status_code
        return 0

    def balancer(self) -> Balancer:
        """Return what stands before both receivers."""
        return Balancer([self._behind(name) for name in RECEIVERS])

    def _behind(self, name: str) -> Behind:
        address = self.net[name].address
        return Behind(name, (address, _DICOM), f"http://{address}:{_WATCH}/readyz")

    def rows(self, found: sa.Select[Any]) -> list[Any]:
        """Return what the database has."""
        with self.database.read() as connection:
            return list(connection.execute(found).all())

    def delivery(self, study: str, destination: str) -> Any:
        """Return the row of one delivery, or None where it is not there yet."""
        both = deliveries.c.study_key == studies.c.study_key
        of_study = studies.c.study_instance_uid == study
        found = sa.select(deliveries).where(both, of_study, deliveries.c.destination == destination)
        rows = self.rows(found)
        return rows[0] if rows else None

    def logged(self, name: str) -> str:
        """Return the log of a host."""
        return self._log(name).read_text(encoding="utf-8", errors="replace")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def stop(self) -> None:
        """End what runs."""
        for name in list(self.running):
            self.kill(name)


@contextlib.contextmanager
def grown_site(folder: Path, net: Network) -> Iterator[GrownSite]:
    """Run the whole site on hosts named ``HOSTS``."""
    place = net[DATABASE]
    cluster = PostgresCluster(within=place.within, listen=place.address, allow=net.range)
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.stop)
        name = cluster.create()
        migrate.upgrade(cluster.url(name))
        store = Moto(net[STORE].address, net[STORE].within)
        stack.callback(store.stop)
        ehr = stack.enter_context(SlowEhr(folder / "ehr", host=net.address))
        pacs = stack.enter_context(CountingPacs(host=net.address))
        database = Database(cluster.url(name), pool_size=2)
        stack.callback(database.close)
        site = GrownSite(folder, net, database, store, ehr, pacs)
        stack.callback(site.stop)
        url = f"postgresql+psycopg://postgres@{place.address}/{name}"
        for one in (*RECEIVERS, *WORKERS):
            _configure(site, one, url)
            site.launch(one)
        for one in site.running:
            site.wait(one)
        yield site


def _configure(site: GrownSite, name: str, database: str) -> None:
    """Write the configuration of a host: the same for all but for the spool, which is its own."""
    folder = site.folder / name
    common = {"timeout_seconds": 60, "breaker": {"failures": 50}}
    write_site(
        folder,
        database=database,
        port=_DICOM,
        channel={
            "source": {"type": "dicom", "host": "0.0.0.0", "port": _DICOM, "ae_title": "INTU_SCP"},
            "settle": {"quiet_seconds": 1.5},
        },
        destinations={
            EHR: {
                "type": "fhir",
                "base_url": site.ehr.base_url,
                "subject": {"strategy": "logical"},
                **common,
            },
            PACS: {
                "type": "dicom",
                "host": site.net.address,
                "port": site.pacs.port,
                "called_ae_title": "PACS",
                **common,
            },
        },
        files=f"s3://{BUCKET}/images",
        object_store=site.store.settings(folder / "spool", timeout_seconds=5),
        lease_seconds=3,
        retry={"first_seconds": 0.5, "max_seconds": 1},
    )


def _environment() -> dict[str, str]:
    """Return an environment in which no proxy stands between hosts."""
    return {key: one for key, one in os.environ.items() if "proxy" not in key.lower()}
