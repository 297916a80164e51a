"""The whole way in one process: a modality sends, studies reach the EHR and the PACS."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import App, open_app
from intu_fhir.db.reports import StudyFilter, StudyRow, list_studies
from intu_fhir.demo.ehr import StandInEhr
from intu_fhir.demo.modality import Sent, require_objects, send_files
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.demo.site import fresh_folder, write_site
from intu_fhir.errors import TransientError
from intu_fhir.observe.clock import SystemClock
from intu_fhir.settings.load import load_configuration

UID_SYSTEM = "urn:dicom:uid"
_DEADLINE_SECONDS = 300.0
_TICK_SECONDS = 0.1
_AT_REST = frozenset({"delivered", "failed", "held", "filtered", "staged"})


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What became of one study, as the far sides say it."""

    study: StudyRow
    imaging_study_id: str
    version: str
    images_at_pacs: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demonstration did.

    Args:
        seconds: from the first byte sent to the last study delivered.
        complete: every study reached both far sides.
    """

    folder: Path
    sent: Sent
    studies: tuple[StudyResult, ...]
    seconds: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a demonstration is; shown as a bar."""

    doing: str
    done: int
    total: int


def run_demo(
    files: Sequence[Path],
    folder: Path,
    *,
    release: str = "r4",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> DemoResult:
    """Send files over a real association and wait until every study is where it belongs.

    Args:
        files: DICOM files; others are skipped and counted.
        folder: where staging database, file store, resources and images are left to be looked at.

    Raises:
        ConfigurationError: the folder holds something else, or the paths no DICOM object.
        TransientError: it took longer than five minutes.
    """
    require_objects(files)  # an earlier demo stays where there is nothing to show instead
    folder = fresh_folder(folder)
    with StandInEhr(folder / "ehr", release=release) as ehr, StandInPacs(folder / "pacs") as pacs:
        port = free_port()
        write_site(folder, port=port, ehr_url=ehr.base_url, pacs_port=pacs.port, release=release)
        app = open_app(load_configuration(folder), SystemClock())
        site = Site(app)
        site.start()
        try:
            started = time.monotonic()
            sent = send_files(
                files,
                port,
                folder / "modality",
                on_progress=lambda done, total: on_progress(Progress("Sending", done, total)),
            )
            rows = _wait(app, on_progress)
            seconds = time.monotonic() - started
            results = tuple(_result(row, ehr.resources("ImagingStudy"), pacs) for row in rows)
        finally:
            site.stop()
    complete = all(row.state == "delivered" for row in rows)
    return DemoResult(folder, sent, results, seconds, complete)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _wait(app: App, on_progress: Callable[[Progress], None]) -> list[StudyRow]:
    """Wait until no study is on its way any more."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        with app.database.read() as connection:
            rows = list_studies(connection, StudyFilter(limit=10_000))
        done = sum(row.state in _AT_REST for row in rows)
        on_progress(Progress("Publishing and forwarding", done, len(rows)))
        if done == len(rows):
            return sorted(rows, key=lambda row: (row.patient_id, row.study_date))
        time.sleep(_TICK_SECONDS)
    raise TransientError(
        "The studies were not delivered within five minutes; look with `intu-fhir deliveries`"
    )


def _result(row: StudyRow, resources: Sequence[dict[str, Any]], pacs: StandInPacs) -> StudyResult:
    """Ask the far sides what they have of a study."""
    value = f"urn:oid:{row.study_instance_uid}"
    found = next((r for r in resources if value in _uids(r)), {})
    images = sum(
        1 for image in pacs.instances if image.study_instance_uid == row.study_instance_uid
    )
    version = str(found.get("meta", {}).get("versionId", ""))
    return StudyResult(row, str(found.get("id", "")), version, images)


def _uids(resource: dict[str, Any]) -> set[str]:
    return {
        identifier.get("value", "")
        for identifier in resource.get("identifier", [])
        if identifier.get("system") == UID_SYSTEM
    }
