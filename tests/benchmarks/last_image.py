"""From the answer to a study's last image to its ImagingStudy at the EHR, the quiet time taken off.

Run: ``python -m tests.benchmarks.last_image [--studies N] [--images N]``. ``intu-fhir serve`` runs
as a site would run it, on SQLite, beside a FHIR server that takes no time; sender, site and server
share the cores. It prints Markdown and writes it to ``tests/benchmarks/results/last_image.md``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pydicom.uid import CTImageStorage

from intu_fhir.db import migrate
from intu_fhir.deliver.dicom import ObjectToSend, StorageScu
from intu_fhir.files.part10 import part10_head
from intu_fhir.settings.schema import DicomDestination
from intu_fhir.stage.header import read_header
from tests.benchmarks import report
from tests.benchmarks.receivers import CALLED, Receiver
from tests.benchmarks.studies_in_rows import headers_of
from tests.support.counting import CountingEhr
from tests.support.databases import sqlite_url
from tests.support.delivering import fhir_at
from tests.support.site_folder import write_site
from tests.support.staging import EXPLICIT_LITTLE
from tests.support.waiting import wait_until

RESULT = Path(__file__).parent / "results" / "last_image.md"
QUIET_SECONDS = 2.0


def serving(ehr: CountingEhr) -> Receiver:
    """Return the whole program with one destination."""

    def command(folder: Path, port: int) -> list[str]:
        url = sqlite_url(folder / "staging.db")
        migrate.upgrade(url)
        source = {"type": "dicom", "host": "127.0.0.1", "port": port, "ae_title": CALLED}
        channel = {"source": source, "settle": {"quiet_seconds": QUIET_SECONDS}}
        to = {"ehr": fhir_at(ehr.base_url, concurrency=2)}
        write_site(folder, database=url, port=port, channel=channel, destinations=to)
        program = str(Path(sys.executable).with_name("intu-fhir"))
        return [program, "serve", "--config", str(folder), "--log-level", "WARNING"]

    return Receiver("intu-fhir serve, SQLite", "file, directory entry and row", "", command)


def delays(studies: int, images: int) -> Iterator[float]:
    """Yield for each study the milliseconds after its quiet time; the first warms up."""
    with (
        tempfile.TemporaryDirectory(prefix="intu-bench-") as name,
        CountingEhr(Path(name) / "ehr") as ehr,
        serving(ehr).running() as site,
    ):
        for number in range(studies + 1):
            study, objects = _objects(Path(name), number, images)
            answered = _send(site.port, objects)
            wait_until(lambda key=(study, images): key in ehr.arrived, 60, "the ImagingStudy")
            took = ehr.arrived[study, images] - answered - QUIET_SECONDS
            if number:
                yield 1_000 * took


def _objects(folder: Path, number: int, images: int) -> tuple[str, list[ObjectToSend]]:
    """Write a study's files; return its UID with what is to be sent."""
    study, objects = "", list[ObjectToSend]()
    for place, body in enumerate(headers_of(number + 1, images)):
        header = read_header(body, EXPLICIT_LITTLE)
        study, uids = header.study_instance_uid, (CTImageStorage, header.sop_instance_uid)
        head, path = part10_head(*uids, EXPLICIT_LITTLE), folder / f"{place}.dcm"
        path.write_bytes(head + body)
        objects.append(ObjectToSend(*uids, EXPLICIT_LITTLE, path, len(head)))
    return study, objects


def _send(port: int, objects: list[ObjectToSend]) -> float:
    """Send them on one association; return when the last was answered."""
    answered = list[float]()
    to = DicomDestination(type="dicom", host="127.0.0.1", port=port, called_ae_title=CALLED)
    scu = StorageScu(to)
    scu.send(objects, lambda _: answered.append(time.monotonic()), keep_going=lambda: True)
    assert len(answered) == len(objects), "an image was not answered"
    return answered[-1]


def page(found: list[float], images: int) -> str:
    """Return all of it as a page."""
    spread = f"{min(found):.0f} to {max(found):.0f}"
    return "\n\n".join(
        (
            "# From the last image to the EHR",
            f"{report.ground()}. `intu-fhir serve` on SQLite, {len(found)} studies of {images} CT "
            f"images, one after the other, quiet time {QUIET_SECONDS:g} s, which is taken off. By "
            "`python -m tests.benchmarks.last_image`.",
            report.table(
                ["milliseconds after the quiet time", "least to most"],
                [[f"{statistics.median(found):.0f} in the middle", spread]],
            ),
        )
    )


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=15)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    text = page(list(delays(options.studies, options.images)), options.images)
    print(text)
    RESULT.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
