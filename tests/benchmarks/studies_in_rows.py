"""Studies as they stand in the staging database once all their headers are described."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from intu_fhir.aggregate.step import AggregateStep
from intu_fhir.app.wiring import App, open_app
from intu_fhir.app.working import Working
from intu_fhir.db import migrate
from intu_fhir.db.described import Described, Undescribed, store_described, undescribed
from intu_fhir.db.instances import store_instances
from intu_fhir.mappings import acquisition_modalities, levels_digest
from intu_fhir.model.work import AGGREGATE, BUILD, DELIVER
from intu_fhir.pipeline.runner import Runner
from intu_fhir.settings.load import load_configuration
from intu_fhir.stage.describe import Description, describe
from intu_fhir.stage.header import read_header
from tests.benchmarks.objects import INSTANCE, SERIES, SMALL, STUDY, data_set
from tests.support.ports import free_port
from tests.support.site_folder import write_site
from tests.support.staging import EXPLICIT_LITTLE, new_instance

EHR = "ehr"
IN_SERIES = 100
THEN = datetime(2024, 3, 1, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Rows:
    """A site with staged studies and nothing that works on them by itself."""

    app: App
    working: Working

    def add_study(self, number: int, instances: int) -> None:
        """Stage a study of ``instances`` images in series of a hundred, described already."""
        receive = list(headers_of(number, instances))
        with self.app.database.write() as connection:
            items = [
                new_instance(THEN, read_header(body, EXPLICIT_LITTLE), quiet_seconds=0.0)
                for body in receive
            ]
            store_instances(connection, items, receiver="here")
        self._describe({read_header(b, EXPLICIT_LITTLE).sop_instance_uid: b for b in receive})

    def runner(self) -> Runner:
        """Return what settles, builds and publishes, one piece of work at a time."""
        site = self.app.configuration
        aggregate = AggregateStep(
            database=self.app.database,
            clock=self.app.clock,
            policies={channel.id: channel.settle for channel in site.channels},
            acquisition_modalities=acquisition_modalities(),
        )
        return self.app.runner(
            {
                (AGGREGATE, ""): aggregate,
                (BUILD, ""): self.working.build,
                (DELIVER, EHR): self.working.delivery(site.site.destinations[EHR]),
            }
        )

    def _describe(self, bodies: dict[str, bytes]) -> None:
        with self.app.database.read() as connection:
            waiting = undescribed(connection, len(bodies))
        found = self.described(waiting, bodies)
        with self.app.database.write() as connection:
            store_described(connection, found, THEN)

    def described(
        self, waiting: Sequence[Undescribed], bodies: dict[str, bytes]
    ) -> list[Described]:
        """Return the complete headers of instances whose data sets are given by UID."""
        levels = self.working.levels
        digest = levels_digest(levels)
        found = []
        for one in waiting:
            seen = describe(bodies[one.sop_instance_uid], EXPLICIT_LITTLE, levels)
            found.append(_described(one.instance_key, one.series_key, seen, digest))
        return found


def _described(instance_key: int, series_key: int, seen: Description, digest: str) -> Described:
    shared = orjson.dumps(seen.shared, option=orjson.OPT_SORT_KEYS)
    return Described(
        instance_key=instance_key,
        series_key=series_key,
        dicom_json=seen.dicom_json,
        shared=seen.shared,
        digest=hashlib.sha256(shared).hexdigest(),
        attributes=seen.instance,
        staged_by=digest,
        findings=seen.findings,
    )


def headers_of(study: int, instances: int) -> Iterator[bytes]:
    """Return the data sets of the images of a study."""
    template = data_set(SMALL)
    for number in range(instances):
        made = template
        for placeholder, value in (
            (STUDY, study),
            (SERIES, study * 1_000 + number // IN_SERIES),
            (INSTANCE, study * 100_000 + number),
        ):
            uid = placeholder[:-20] + f"{value:020}"
            made = made.replace(placeholder.encode(), uid.encode())
        yield made


def site_of_rows(folder: Path, database_url: str, ehr: str = "http://127.0.0.1:9/fhir") -> Rows:
    """Return a site with two destinations, one FHIR server and one PACS.

    Args:
        ehr: address of the FHIR server.
    """
    migrate.upgrade(database_url)
    destinations: dict[str, dict[str, Any]] = {
        EHR: {
            "type": "fhir",
            "base_url": ehr,
            "release": "r4",
            "subject": {"strategy": "logical"},
        },
        "pacs": {"type": "dicom", "host": "127.0.0.1", "port": 9, "called_ae_title": "PACS"},
    }
    channel = {"settle": {"quiet_seconds": 1}}
    write_site(
        folder,
        database=database_url,
        port=free_port(),
        destinations=destinations,
        channel=channel,
    )
    app = open_app(load_configuration(folder))
    return Rows(app, Working(app))
