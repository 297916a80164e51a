"""A running site between a stand-in EHR and a stand-in PACS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from pydicom.dataset import Dataset

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.reports import StudyFilter, StudyRow, list_studies
from intu_fhir.deliver.dicom import ObjectToSend, StorageScu
from intu_fhir.demo.ehr import Features, StandInEhr
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.outcome import InstanceOutcome
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.schema import DicomDestination
from tests.support.ports import free_port
from tests.support.rows import rows_of
from tests.support.site_folder import write_site
from tests.support.staging import EXPLICIT_LITTLE
from tests.support.studies import data_set_bytes
from tests.support.waiting import wait_until

AT_REST = frozenset({"delivered", "failed", "held", "filtered", "staged"})


@dataclass
class Running:
    """A site and its far sides."""

    folder: Path
    ehr: StandInEhr
    pacs: StandInPacs
    site: Site

    def send(self, datasets: Iterable[Dataset], *, calling: str = "CT1") -> list[InstanceOutcome]:
        """Send data sets over one association, as a modality does."""
        answers: list[InstanceOutcome] = []
        port = self.site.listeners[0].port
        destination = DicomDestination(
            type="dicom",
            host="127.0.0.1",
            port=port,
            ae_title=calling,
            called_ae_title="INTU_TEST",
        )
        objects = [self._object(one, number) for number, one in enumerate(datasets)]
        StorageScu(destination).send(objects, answers.append, keep_going=lambda: True)
        return answers

    def _object(self, dataset: Dataset, number: int) -> ObjectToSend:
        uids = (str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
        head = part10_head(*uids, EXPLICIT_LITTLE)
        path = self.folder / f"to-send-{number}.dcm"
        path.write_bytes(head + data_set_bytes(dataset))
        return ObjectToSend(*uids, EXPLICIT_LITTLE, path, len(head))

    def studies(self) -> list[StudyRow]:
        """Return every study with its state."""
        with self.site.app.database.read() as connection:
            return list_studies(connection, StudyFilter(limit=1_000))

    def rest(self, *, generation: int = 1, seconds: float = 30.0) -> list[StudyRow]:
        """Wait until every study has reached a generation and nothing is on its way."""
        return wait_until(lambda: self._at_rest(generation), seconds, "every study at rest")

    def _at_rest(self, generation: int) -> list[StudyRow]:
        rows = self.studies()
        done = all(row.state in AT_REST and row.generation >= generation for row in rows)
        return rows if done else []

    def rows(self, table: sa.Table) -> list[Any]:
        """Return all rows of a table, by their keys."""
        return rows_of(self.site.app.database, table)

    def imaging_studies(self) -> list[dict[str, Any]]:
        """Return what the EHR has."""
        return self.ehr.resources("ImagingStudy")

    def restart(self) -> None:
        """Stop the site and start it anew on the same database and files."""
        self.site.stop()
        self.site = Site(open_app(load_configuration(self.folder)))
        self.site.start()

    def use_mapping(self, text: str) -> None:
        """Give the channel a mapping of the site's own and start anew."""
        own = self.folder / "own.yaml"
        own.write_text(text)
        place = self.folder / "channels" / "radiology" / "channel.yaml"
        channel = yaml.safe_load(place.read_text())
        place.write_text(yaml.safe_dump({**channel, "mapping": str(own)}))
        self.restart()


@contextmanager
def running_site(
    folder: Path,
    database: str,
    *,
    release: str = "r4",
    channel: dict[str, Any] | None = None,
    ehr: dict[str, Any] | None = None,
    pacs_at: dict[str, Any] | None = None,
    source: dict[str, Any] | None = None,
    features: Features | None = None,
    port: int | None = None,
    **site: Any,
) -> Iterator[Running]:
    """Run a site with one channel to both stand-ins; retries come quickly.

    Args:
        channel: keys of the channel file that differ.
        ehr: keys of the EHR destination that differ.
        pacs_at: keys of the PACS destination that differ, to send to a real one.
        source: the channel's source; its port is chosen here.
        features: what the EHR offers; everything by default.
        port: of the channel; by default any that is free.
        site: keys of the root file that differ.
    """
    stand_in = StandInEhr(folder / "ehr", release, features=features)
    with stand_in, StandInPacs(folder / "pacs") as pacs:
        destinations = {
            "ehr": {
                "type": "fhir",
                "base_url": stand_in.base_url,
                "release": release,
                "subject": {"strategy": "logical"},
                "timeout_seconds": 5,
                **(ehr or {}),
            },
            "pacs": {
                "type": "dicom",
                "host": "127.0.0.1",
                "port": pacs.port,
                "called_ae_title": "PACS",
                "timeout_seconds": 5,
                **(pacs_at or {}),
            },
        }
        site.setdefault("retry", {"first_seconds": 0.1, "max_seconds": 0.5})
        port = port or free_port()
        if source:
            channel = {**(channel or {}), "source": {**source, "port": port}}
        write_site(
            folder,
            database=database,
            port=port,
            destinations=destinations,
            channel=channel,
            **site,
        )
        one = Site(open_app(load_configuration(folder)))
        one.start()
        running = Running(folder, stand_in, pacs, one)
        try:
            yield running
        finally:
            running.site.stop()
