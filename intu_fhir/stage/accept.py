"""What happens between the last byte of an object and the answer to its sender.

The order is the promise: file content, rename and directory entry are on disk, then the row
is, then the answer is given. A crash between two of them leaves a file without a row, which
``recover`` removes, and never a row without a file, nor an answer without either.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from intu_fhir.db.instances import NewInstance, StagedAs
from intu_fhir.db.quarantine import Quarantined, is_quarantined, store_quarantined
from intu_fhir.db.session import Database
from intu_fhir.errors import IdentityMismatch
from intu_fhir.files.store import FileStore
from intu_fhir.model.instance import Accepted, Disposition, InstanceHeader, ReceivedObject
from intu_fhir.observe.clock import Clock
from intu_fhir.stage.commit import GroupCommit
from intu_fhir.stage.header import read_header

OTHER_BYTES = "different_bytes"
OTHER_PARENT = "other_study_or_series"


@dataclass(frozen=True)
class Accept:
    """Stages one received object; called by several threads at once, safe to repeat.

    Args:
        quiet_seconds: by channel, how long a study must be quiet to count as settled.
    """

    files: FileStore
    database: Database
    rows: GroupCommit[NewInstance, StagedAs]
    clock: Clock
    receiver: str
    quiet_seconds: dict[str, float]

    def __call__(self, received: ReceivedObject) -> Accepted:
        """Stage an object durably and say what became of it.

        Raises:
            InvalidDataSet: it cannot be read.
            InvalidUid: a UID is missing or invalid.
            IdentityMismatch: it is not what its command announced.
            StoreUnavailable: disk or database cannot take it now.
        """
        header = self._read(received)
        now = self.clock.now()
        name = self.files.keep(received.path, now)
        staged = self.rows.submit(self._row(received, header, name, now))
        if staged.new:
            return self._accepted(header, Disposition.STORED)
        if staged.sha256 == received.sha256:
            self.files.remove(name)
            return self._accepted(header, Disposition.ALREADY_STORED, "same_bytes")
        return self._quarantine(received, header, name, staged, now)

    def _read(self, received: ReceivedObject) -> InstanceHeader:
        with _data_set(received) as data_set:
            header = read_header(data_set, received.transfer_syntax_uid)
        announced = (received.sop_class_uid, received.sop_instance_uid)
        if (header.sop_class_uid, header.sop_instance_uid) != announced:
            raise IdentityMismatch(
                f"The data set of {received.sop_instance_uid} names another SOP Class or Instance "
                "UID than the command; the sender must send them alike"
            )
        return header

    def _row(
        self, received: ReceivedObject, header: InstanceHeader, name: str, now: datetime
    ) -> NewInstance:
        return NewInstance(
            header=header,
            origin=received.origin,
            file=name,
            data_set_offset=received.data_set_offset,
            data_set_bytes=received.size,
            sha256=received.sha256,
            received_at=now,
            quiet_seconds=self.quiet_seconds.get(received.origin.channel, 0.0),
        )

    def _quarantine(
        self,
        received: ReceivedObject,
        header: InstanceHeader,
        name: str,
        staged: StagedAs,
        now: datetime,
    ) -> Accepted:
        """Keep the second of two different objects with one UID aside; the first one stays."""
        same_parents = (
            staged.study_instance_uid == header.study_instance_uid
            and staged.series_instance_uid == header.series_instance_uid
        )
        reason = OTHER_BYTES if same_parents else OTHER_PARENT
        with self.database.read() as connection:
            known = is_quarantined(connection, header.sop_instance_uid, received.sha256)
        if known:
            self.files.remove(name)
            return self._accepted(header, Disposition.QUARANTINED, reason)
        item = Quarantined(
            header=header,
            origin=received.origin,
            reason=reason,
            detail="Staging holds another object under this SOP Instance UID; compare both files, "
            "then resend under a new UID or remove the one that is wrong",
            file=self.files.quarantine(self.files.path(name), now),
            sha256=received.sha256,
            stored_sha256=staged.sha256,
            received_at=now,
        )
        with self.database.write() as connection:
            store_quarantined(connection, item, receiver=self.receiver)
        return self._accepted(header, Disposition.QUARANTINED, reason)

    @staticmethod
    def _accepted(header: InstanceHeader, what: Disposition, reason: str = "") -> Accepted:
        return Accepted(what, header.sop_instance_uid, header.study_instance_uid, reason)


@contextlib.contextmanager
def _data_set(received: ReceivedObject) -> Iterator[memoryview]:
    """Give the bytes of a data set without reading the whole file into memory."""
    if received.size == 0:
        yield memoryview(b"")
        return
    with (
        received.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
        whole[received.data_set_offset :] as data_set,
    ):
        yield data_set
