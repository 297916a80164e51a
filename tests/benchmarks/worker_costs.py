"""Processor time of what is done with each image: ``python -m tests.benchmarks.worker_costs``.

Reading a complete header from its file, sending a file to a PACS, bringing one into an object store
and reading it back. Waiting costs no processor, so neighbours on the machine change little. Prints
Markdown and writes it to ``results/worker_costs.md``, where ``intu_fhir.sizing`` has defaults from.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from intu_fhir.app.wiring import App, open_app
from intu_fhir.errors import PermanentError
from intu_fhir.files.part10 import part10_head
from intu_fhir.mappings import staged_attributes
from intu_fhir.model.instance import Origin, ReceivedObject
from intu_fhir.settings.load import load_configuration
from intu_fhir.stage.encodings import DEFAULT_LIMITS
from intu_fhir.stage.part10 import DataSetPlace, find_data_set
from intu_fhir.stage.stored import read_stored
from tests.benchmarks.forwarding import ours, storescp, study
from tests.benchmarks.objects import CT, INSTANCE, numbered, part10
from tests.benchmarks.report import ground, table
from tests.support.data import shared_data
from tests.support.databases import sqlite_url
from tests.support.object_stores import BUCKET, KINDS, start_object_store, versitygw
from tests.support.ports import free_port
from tests.support.site_folder import write_site

RESULT = Path(__file__).parent / "results" / "worker_costs.md"
DESCRIBE, SEND, UPLOAD = "complete header read", "sent to a PACS", "uploaded and read back"
REAL = "complete header read, real images of many makers"
_UPLOADS = 100

Work = Callable[[], int]


@contextmanager
def describing(folder: Path) -> Iterator[Work]:
    """Read complete headers as the describer does, the writing of rows left out."""
    files, levels = study(CT, folder), staged_attributes()

    def work() -> int:
        for one in files:
            path, offset = one.file, one.data_set_offset
            read_stored(path, offset, ExplicitVRLittleEndian, levels, DEFAULT_LIMITS, "")
        return len(files)

    yield work


@contextmanager
def describing_real(_folder: Path) -> Iterator[Work]:
    """The same of the real studies that stand beside a checkout: scanners say more than we do."""
    shared, levels = shared_data(), staged_attributes()
    files = [path for path in (shared / "dicom").rglob("*") if path.is_file()] if shared else []
    found = [(path, place) for path in files if (place := _place(path))]

    def work() -> int:
        for path, place in found:
            with suppress(PermanentError):  # some are cut off
                syntax = place.transfer_syntax_uid
                read_stored(path, place.offset, syntax, levels, DEFAULT_LIMITS, "")
        return max(1, len(found))

    yield work


def _place(path: Path) -> DataSetPlace | None:
    with path.open("rb") as file:
        return find_data_set(file.read(4_096))


@contextmanager
def sending(folder: Path) -> Iterator[Work]:
    """Send a study over one association, as a delivery does."""
    files = study(CT, folder)
    with storescp() as destination:

        def work() -> int:
            ours(destination, files)
            return len(files)

        yield work


@contextmanager
def uploading(folder: Path) -> Iterator[Work]:
    """Bring what was received from the spool into a bucket."""
    moto, versity = KINDS
    kind, runs = versity if versitygw() else moto, iter(range(1, 10_000))
    server = start_object_store(kind, folder / "server")
    section = server.settings(folder / "spool", answer="spooled", timeout_seconds=30)
    where = {"files": f"s3://{BUCKET}/costs", "object_store": section}
    write_site(folder, database=sqlite_url(folder / "staging.db"), port=free_port(), **where)
    with ExitStack() as stack:
        stack.callback(server.stop)
        app = stack.enter_context(closing(open_app(load_configuration(folder))))
        app.rows.start()
        stack.callback(app.rows.stop)

        def work() -> int:
            uploader = app.uploader
            assert uploader is not None
            done = 0
            while some := uploader.upload_some():
                done += some
            return done

        def prepared() -> int:
            _receive(app, next(runs))
            return 0

        yield _Prepared(prepared, work)


class _Prepared:
    """Work before which something is made ready that is not measured."""

    def __init__(self, prepare: Work, work: Work) -> None:
        self.prepare, self._work = prepare, work

    def __call__(self) -> int:
        return self._work()


def _receive(app: App, run: int) -> None:
    for number in range(_UPLOADS):
        uid = numbered(INSTANCE, run * 10_000 + number)
        content = part10(CT, run, run * 10_000 + number)
        head = part10_head(CTImageStorage, uid, ExplicitVRLittleEndian)
        spool = app.files.open_spool(head)
        spool.write(content[len(head) :])
        done = spool.finish()
        assert done.sha256 == sha256(content[len(head) :]).hexdigest()
        uids = (CTImageStorage, uid, ExplicitVRLittleEndian)
        origin = Origin(f"run{run}", "radiology", calling_ae_title="CT1")
        parts = (done.path, done.data_set_offset, done.size, done.sha256)
        app.accept(ReceivedObject(*parts, *uids, origin))


WAYS = {DESCRIBE: describing, REAL: describing_real, SEND: sending, UPLOAD: uploading}


def milliseconds(name: str, rounds: int) -> float:
    """Return the processor time of an image, the middle of some rounds after a first one."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="intu-bench-") as folder,
        WAYS[name](Path(folder)) as work,
    ):
        for _ in range(rounds + 1):
            if isinstance(work, _Prepared):
                work.prepare()
            begun = time.process_time()
            count = work()
            found.append((time.process_time() - begun) / count * 1000)
    return statistics.median(found[1:])


def page(costs: dict[str, float], rounds: int) -> str:
    """Return all of it as a page."""
    rows = [[name, f"{cost:.2f}"] for name, cost in costs.items()]
    return "\n\n".join(
        (
            "# What each image costs",
            f"{ground()}.",
            "Processor time of our process alone, CT of 512 by 512 pixels of 16 bits, middle of "
            f"{rounds} rounds. By `python -m tests.benchmarks.worker_costs`.",
            table(["for each image", "milliseconds of a core"], rows),
        )
    )


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    text = page({name: milliseconds(name, rounds) for name in WAYS}, rounds)
    sys.stdout.write(f"{text}\n")
    RESULT.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
