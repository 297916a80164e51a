"""How fast each stage of a site works on studies that come now, whatever is staged already."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import sqlalchemy as sa

from intu_fhir.db.described import Described, store_described, undescribed
from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.instances import NewInstance
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, studies, work
from intu_fhir.model.work import AGGREGATE, BUILD, DELIVER
from intu_fhir.pipeline.runner import Lane
from intu_fhir.stage.header import read_header
from tests.benchmarks.stocked_site import spread
from tests.benchmarks.studies_in_rows import EHR, THEN, Rows, headers_of, site_of_rows
from tests.support.counting import CountingEhr
from tests.support.staging import EXPLICIT_LITTLE, new_instance, origin

STORE, DESCRIBE, SETTLE, PUBLISH = (
    "rows of images",
    "complete headers",
    "studies settled",
    "studies delivered",
)
BUILT = "studies built"
_NEW_STUDIES = 10_000_000
"""Numbers of studies from here on are those of studies that come now."""


@dataclass(frozen=True)
class Load:
    """What comes.

    Args:
        studies: how many.
        images: of each.
        at_once: images whose rows are stored in one transaction, as from as many associations.
    """

    studies: int
    images: int
    at_once: int


def next_number(database: Database) -> int:
    """Return a number that nothing here was made of yet."""
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.max(studies.c.study_key))).scalar_one() or 0


def stage_rates(url: str, folder: Path, load: Load) -> dict[str, float]:
    """Bring studies from reception to the EHR, stage by stage; return pieces per second of each."""
    with far_ehr(folder / "ehr") as ehr, contextlib.ExitStack() as stack:
        rows = site_of_rows(folder, url, ehr)
        stack.callback(rows.app.close)
        stack.callback(rows.working.close)
        return dict(_stages(rows, load))


def _stages(rows: Rows, load: Load) -> Iterator[tuple[str, float]]:
    bodies, batches = _images(load, _NEW_STUDIES + next_number(rows.app.database))
    writer = InstanceWriter(rows.app.database, "here")
    yield STORE, len(bodies) / _seconds(partial(_each, writer, batches))
    with rows.app.database.read() as connection:
        waiting = undescribed(connection, len(bodies))
    found = rows.described(waiting, bodies)
    yield DESCRIBE, len(bodies) / _seconds(partial(_describe, rows.app.database, found))
    runner = rows.runner()
    for name, lane in (
        (SETTLE, Lane(AGGREGATE)),
        (BUILT, Lane(BUILD)),
        (PUBLISH, Lane(DELIVER, EHR)),
    ):
        done = [0]
        took = _seconds(partial(_until_done, partial(runner.run_one, lane), done))
        assert done == [load.studies], f"{name}: {done} of {load.studies}"
        yield name, load.studies / took


def _images(load: Load, first: int) -> tuple[dict[str, bytes], list[list[NewInstance]]]:
    """Return the data sets by UID, and the rows to be in groups as they arrive."""
    bodies: dict[str, bytes] = {}
    rows: list[NewInstance] = []
    for number in range(first, first + load.studies):
        came_by = origin(f"scale-{number}")
        for body in headers_of(spread(number), load.images):
            header = read_header(body, EXPLICIT_LITTLE)
            bodies[header.sop_instance_uid] = body
            rows.append(new_instance(THEN, header, quiet_seconds=0.0, came_by=came_by))
    return bodies, [rows[n : n + load.at_once] for n in range(0, len(rows), load.at_once)]


def _each(writer: InstanceWriter, batches: list[list[NewInstance]]) -> None:
    for batch in batches:
        assert all(one.new for one in writer(batch)), "an image was there before"


def _describe(database: Database, found: list[Described]) -> None:
    """Look for what has no header yet and store its header, a hundred at a time, as workers do."""
    for begin in range(0, len(found), 100):
        with database.read() as connection:
            undescribed(connection, 100)
        with database.write() as connection:
            store_described(connection, found[begin : begin + 100], THEN)


def _until_done(do_one: Callable[[], bool], done: list[int]) -> None:
    while do_one():
        done[0] += 1


def _seconds(do: Callable[[], None]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def forget_what_waits(database: Database) -> None:
    """Let nothing wait for a worker: whoever receives alone leaves it to others."""
    with database.write() as connection:
        waits = instances.c.described_at.is_(None)
        connection.execute(sa.update(instances).where(waits).values(described_at=THEN))
        connection.execute(sa.delete(work).where(work.c.due_at.is_not(None)))


@contextlib.contextmanager
def far_ehr(folder: Path) -> Iterator[str]:
    """Give the address of a FHIR server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(folder, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(folder: Path, told: Connection) -> None:
    with CountingEhr(folder) as ehr:
        told.send(ehr.base_url)
        threading.Event().wait()
