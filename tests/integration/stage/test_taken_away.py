"""A file that somebody removes while its row is stored: nobody is told that it is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from intu_fhir.db.instances import NewInstance, StagedAs, store_instances
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import Disposition, ReceivedObject
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commit import GroupCommit
from tests.support.clock import FakeClock
from tests.support.staging import CT_STORAGE, EXPLICIT_LITTLE, origin
from tests.support.studies import data_set_bytes, make_instance


@dataclass
class Taking:
    """Stores rows, and lets somebody remove what they name before anybody is told."""

    database: Database
    root: Path
    takes: bool = False

    def __call__(
        self, items: Sequence[NewInstance], before_commit: Callable[[], None]
    ) -> list[StagedAs]:
        """Store a batch."""
        with self.database.write() as connection:
            answers = store_instances(connection, items, receiver="here")
            before_commit()
            if self.takes:
                for item in items:
                    (self.root / item.file).unlink()
        return answers


def test_success_is_not_given_for_a_file_that_is_gone(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    """The sender is asked to send again what was removed between its sync and its answer."""
    files = LocalFileStore(tmp_path)
    taking = Taking(database, tmp_path)
    rows = GroupCommit(taking)
    rows.start()
    accept = Accept(files, database, rows, clock, "here", {})
    assert accept(spooled(files, 1)).disposition is Disposition.STORED
    taking.takes = True
    with pytest.raises(StoreUnavailable, match="went while its row was stored"):
        accept(spooled(files, 2))
    assert files.without_row() == 0
    rows.stop()
    files.close()


def spooled(files: LocalFileStore, number: int) -> ReceivedObject:
    """Spool one object as the network does."""
    dataset = make_instance(number=number)
    uid = str(dataset.SOPInstanceUID)
    spool = files.open_spool(part10_head(CT_STORAGE, uid, EXPLICIT_LITTLE))
    spool.write(data_set_bytes(dataset))
    done = spool.finish()
    return ReceivedObject(
        path=done.path,
        data_set_offset=done.data_set_offset,
        size=done.size,
        sha256=done.sha256,
        sop_class_uid=CT_STORAGE,
        sop_instance_uid=uid,
        transfer_syntax_uid=EXPLICIT_LITTLE,
        origin=origin(),
    )
