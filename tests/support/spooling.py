"""A machine that stages objects into an object store, in one process with the test."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset

from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances
from intu_fhir.db.uploads import spool_of
from intu_fhir.files.part10 import part10_head
from intu_fhir.files.s3 import ObjectFileStore
from intu_fhir.model.instance import Accepted, ReceivedObject
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.object_store import ObjectStore
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.recover import recover
from intu_fhir.stage.rows import commit_rows
from intu_fhir.stage.uploads import Uploader
from tests.support.object_stores import BUCKET, Running
from tests.support.rows import rows_of
from tests.support.staging import EXPLICIT_LITTLE, origin
from tests.support.studies import data_set_bytes


@dataclass
class Machine:
    """A receiving machine: its spool, its hand in the bucket, and the common database."""

    database: Database
    clock: Clock
    server: Running
    prefix: str
    settings: ObjectStore
    files: ObjectFileStore
    accept: Accept
    uploader: Uploader

    def receive(self, dataset: Dataset) -> Accepted:
        """Take an object as the network does."""
        sop_class_uid, uid = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
        head = part10_head(
            sop_class_uid=sop_class_uid, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT_LITTLE
        )
        spool = self.files.open_spool(head)
        spool.write(data_set_bytes(dataset))
        done = spool.finish()
        return self.accept(
            ReceivedObject(
                path=done.path,
                data_set_offset=done.data_set_offset,
                size=done.size,
                sha256=done.sha256,
                origin=origin(),
                sop_class_uid=sop_class_uid,
                sop_instance_uid=uid,
                transfer_syntax_uid=EXPLICIT_LITTLE,
            )
        )

    def rows(self, table: sa.Table) -> list[Any]:
        """Return all rows of a table, by their keys."""
        return rows_of(self.database, table)

    def spooled(self) -> list[str]:
        """Return the names of the files that wait on this machine."""
        root = self.settings.spool
        parts = (root / "instances", root / "quarantine")
        paths = [path for part in parts for path in part.rglob("*.dcm")]
        return sorted(str(path.relative_to(root)) for path in paths)

    def bucket(self) -> dict[str, bytes]:
        """Return the objects of this test by name."""
        start = f"{self.prefix}/"
        found = self.server.objects().items()
        return {path.removeprefix(start): c for path, c in found if path.startswith(start)}

    def digests_read(self) -> dict[str, bool]:
        """Read every staged instance and say whether it has the digest that came over the wire."""
        return {row.sop_instance_uid: self._is_whole(row) for row in self.rows(instances)}

    def _is_whole(self, row: Any) -> bool:
        with self.files.file(row.file).open("rb") as file:
            file.seek(row.data_set_offset)
            return hashlib.sha256(file.read()).hexdigest() == str(row.sha256)

    def recover(self) -> int:
        """Do what the next process does at its start, as a new hand in the same spool."""
        return recover(self.database, self._again(), "here", self.clock.now())

    def _again(self) -> ObjectFileStore:
        return _open(self.prefix, self.settings, self.database)

    def close(self) -> None:
        """End as a process does that stops by itself."""
        self.accept.rows.stop()
        self.files.close()


def _open(prefix: str, settings: ObjectStore, database: Database) -> ObjectFileStore:
    def ask(name: str) -> str:
        with database.read() as connection:
            return spool_of(connection, name)

    return ObjectFileStore(f"s3://{BUCKET}/{prefix}", settings, ask)


@contextlib.contextmanager
def machine(
    database: Database,
    clock: Clock,
    server: Running,
    spool: Path,
    prefix: str,
    **settings: Any,
) -> Iterator[Machine]:
    """Give a machine whose spool is a folder of its own."""
    wanted = ObjectStore(**server.settings(spool, **settings))
    files = _open(prefix, wanted, database)
    rows = commit_rows(InstanceWriter(database, "here", files.spool))
    rows.start()
    accept = Accept(files, database, rows, clock, "here", {"radiology": 30.0})
    uploader = Uploader(database, files, clock, wanted)
    one = Machine(database, clock, server, prefix, wanted, files, accept, uploader)
    try:
        yield one
    finally:
        one.close()
