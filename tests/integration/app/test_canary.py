"""Patient data and secrets stand in staging and at the destinations, and nowhere else."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx
import pytest
from pydicom.dataset import Dataset

from intu_fhir.demo.ehr import Fault
from intu_fhir.observe.logging import configure_logging
from intu_fhir.web.running import WebPage
from tests.support.databases import sqlite_url
from tests.support.ports import free_port
from tests.support.running import Running, running_site
from tests.support.studies import make_instance

SECRET = "canary-bearer-0123456789"
PATIENT = {
    "PatientName": "Canaryname^Canarygiven",
    "PatientID": "CANARYPID",
    "PatientBirthDate": "19310203",
    "OtherPatientNames": "Canaryother",
    "PatientAddress": "Canarystreet 1",
    "PatientTelephoneNumbers": "0177-CANARYFON",
    "PatientComments": "Canarycomment\r\n\x1b[31mforged",
    "PatientMotherBirthName": "Canarymother",
    "EthnicGroup": "Canaryethnic",
    "Occupation": "Canaryjob",
    "AccessionNumber": "CANARYACC",
    "StudyID": "CANARYSID",
    "StudyDescription": "Canarystudy",
    "SeriesDescription": "Canaryseries",
    "ReferringPhysicianName": "Canaryreferrer",
    "InstitutionName": "Canaryhospital",
    "RequestingPhysician": "Canaryrequester",
    "AdmissionID": "CANARYADM",
}
WORDS = ("canary", "19310203", "1931-02-03")
HELD_FOR_THE_PATIENT = ("files", "staging.db", "ehr", "pacs", "to-send-", "intu.yaml")
"""Where it belongs: staging, the far sides, the sender, and the secret in the configuration."""


def _canary(study: str, number: int = 1, **attributes: object) -> Dataset:
    one = make_instance(study, 1, number, **{**PATIENT, **attributes})
    block = one.private_block(0x0011, "CANARYPRIVATE", create=True)
    block.add_new(1, "LO", "Canaryprivate")
    return one


@dataclass
class Troubled:
    """A site that has met contradictions, duplicates, and an EHR that echoes; and its traces."""

    running: Running
    page: WebPage
    log: Path
    temporary: Path

    def logged(self) -> str:
        """Return all that was logged so far."""
        return self.log.read_text(encoding="utf-8")

    def get(self, *paths: str) -> str:
        """Return what the web page answers."""
        base = f"http://127.0.0.1:{self.page.server.port}"
        with httpx.Client(base_url=base, timeout=30) as client:
            return "".join(client.get(path).text for path in paths)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """The site, with every log at DEBUG in one file and temporary files in one folder."""
    folder = tmp_path_factory.mktemp("troubled")
    temporary = folder / "temporary"
    temporary.mkdir()
    with (folder / "log").open("a", encoding="utf-8", buffering=1) as log, _here(temporary, log):
        site = folder / "site"
        with running_site(
            site,
            sqlite_url(site / "staging.db"),
            ehr={"auth": {"type": "bearer", "token": SECRET}},
            web={"port": free_port()},
        ) as running:
            _trouble(running)
            page = WebPage(running.site.app)
            page.start()
            yield Troubled(running, page, folder / "log", temporary)
            page.stop()


@contextmanager
def _here(temporary: Path, log: TextIO) -> Iterator[None]:
    libraries = logging.StreamHandler(log)
    libraries.setFormatter(logging.Formatter('{"library": "%(name)s %(message)s"}'))
    logging.getLogger().addHandler(libraries)
    configure_logging(level="DEBUG", stream=log)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(temporary))
        patched.setattr(tempfile, "tempdir", None)
        yield
    logging.getLogger().removeHandler(libraries)
    configure_logging()


def _trouble(running: Running) -> None:
    """Send what goes well, what contradicts itself and what is refused; let the EHR echo."""
    echo = b'{"resourceType": "OperationOutcome", "issue": [{"diagnostics": "no CANARYPID here"}]}'
    echoes = [Fault(status=503, body=echo)] * 6
    running.ehr.fail_next(*echoes, Fault(status=500, body=b"Canaryname"))
    running.send([_canary("good"), _canary("good", 2), _canary("good")])
    running.send([_canary("good", 1, SeriesDescription="Canaryother series")])
    running.rest()
    running.ehr.fail_next(Fault(status=422, body=echo))
    running.send([_canary("refused")])
    running.send([_canary("torn"), _canary("torn", 2, PatientID="CANARYPID2")])
    running.send([_canary("dates", StudyDate=None)], calling="FORGED")
    running.rest()


def _found(text: str) -> list[str]:
    """Return the lines that hold a canary, in whatever case."""
    lines = text.splitlines()
    return [line[:300] for line in lines if any(word in line.lower() for word in WORDS)]


def test_logs_are_silent_about_patients(troubled: Troubled) -> None:
    """At DEBUG, with refusals, holds and failures, no line of any log holds a canary."""
    states = {row.state for row in troubled.running.studies()}
    assert {"delivered", "failed", "held"} <= states, states
    logged = troubled.logged()
    assert all(event in logged for event in ("work_done", "work_needs_person", "object_refused"))
    assert _found(logged) == []


def test_metrics_and_errors_are_silent_about_patients(troubled: Troubled) -> None:
    """Metrics, health and the web page's errors hold no canary, whatever was asked for."""
    shown = troubled.get("/metrics", "/healthz", "/readyz", "/nowhere", "/studies/1.2.3.4.5")
    assert "intu_receive_objects_total" in shown
    assert _found(shown) == []


def test_urls_and_other_files_are_silent_about_patients(troubled: Troubled) -> None:
    """No URL that the EHR was asked, no name of a file, and no other file holds a canary."""
    asked = [one.path for one in troubled.running.ehr.received]
    assert asked
    assert [path for path in asked if _found(path)] == []
    site = troubled.running.folder
    assert [path for path in site.rglob("*") if _found(path.as_posix())] == []
    elsewhere = [path for path in site.rglob("*") if not _is_meant(path.relative_to(site))]
    elsewhere += troubled.temporary.rglob("*")
    files = [path for path in elsewhere if path.is_file()]
    assert [path for path in files if _found(path.read_bytes().decode("latin-1"))] == []


def _is_meant(path: Path) -> bool:
    return path.as_posix().startswith(HELD_FOR_THE_PATIENT)


def test_secrets_stay_secret(troubled: Troubled) -> None:
    """The token for the EHR reaches the EHR, and stands in no log, page or staged row."""
    assert any(SECRET in str(one.headers) for one in troubled.running.ehr.received)
    shown = troubled.get("/metrics", "/destinations") + troubled.logged()
    assert SECRET not in shown
    databases = list(troubled.running.folder.glob("staging.db*"))
    assert databases
    assert not any(SECRET.encode() in path.read_bytes() for path in databases)


def test_one_event_is_one_line(troubled: Troubled) -> None:
    """What a peer writes can not forge a line: each line of the log is one JSON object."""
    logging.getLogger("pydicom").warning("not for the log: Canaryname")
    lines = troubled.logged().splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert _found(troubled.logged()) == []
