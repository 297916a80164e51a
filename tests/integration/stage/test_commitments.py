"""Looking whether what was asked for is really there, on both databases."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest
import sqlalchemy as sa

from intu_fhir.db import commitments as table
from intu_fhir.db.session import Database
from intu_fhir.db.tables import storage_commitment_items
from intu_fhir.errors import StaleClaim, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.commitment import (
    ASKED,
    CHECKED,
    CommitmentAsked,
    CommitmentClaim,
    ReferencedInstance,
)
from intu_fhir.settings.schema import StorageCommitment
from intu_fhir.stage.commitments import Commitments
from tests.support.clock import FakeClock
from tests.support.staging import CT_STORAGE, header, new_instance, origin, store


class OutOfFiles(LocalFileStore):
    """A store that cannot open anything right now."""

    def open(self, name: str) -> BinaryIO:
        """Fail as the system does when there are too many open files."""
        raise StoreUnavailable("no") from OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def ask(database: Database, clock: FakeClock, *uids: str, transaction: str = "1.2.3") -> None:
    """Store a request."""
    asked = CommitmentAsked(transaction, tuple(ReferencedInstance(CT_STORAGE, u) for u in uids))
    with database.write() as connection:
        assert table.store_request(
            connection, origin("asking"), asked, clock.now(), receiver="here", max_waiting=10
        )


def results(database: Database) -> list[str]:
    """Return the results so far, in the order they were asked for."""
    column = storage_commitment_items.c
    with database.read() as connection:
        found = sa.select(column.result).order_by(column.commitment_key, column.number)
        return list(connection.execute(found).scalars())


def commitments(database: Database, files: LocalFileStore, clock: FakeClock) -> Commitments:
    """Return what checks."""
    return Commitments(database, files, clock, "here", StorageCommitment(), {CT_STORAGE})


def test_shortage_of_the_system_is_no_damage(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Too many open files is told as lack of resources, so that the requester asks again."""
    one = header()
    store(database, new_instance(clock.now(), one))
    ask(database, clock, one.sop_instance_uid)
    assert commitments(database, OutOfFiles(tmp_path), clock).check_some() == 1
    assert results(database) == ["0213"]


def finish(database: Database, held: CommitmentClaim, result: str, clock: FakeClock) -> None:
    """Store the result of the only instance of a request."""
    with database.write() as connection:
        table.store_results(connection, held, [(1, result)])
        table.checked(connection, held, clock.now())


def test_claim_that_ran_out_writes_nothing(database: Database, clock: FakeClock) -> None:
    """A worker that was too slow changes nothing; the request goes to another one meanwhile."""
    ask(database, clock, "1.2.3.1")
    with database.write() as connection:
        slow = table.claim(connection, ASKED, clock.now(), lease_seconds=60)
        assert table.claim(connection, ASKED, clock.now(), lease_seconds=60) is None
    clock.advance(61)
    with database.write() as connection:
        quick = table.claim(connection, ASKED, clock.now(), lease_seconds=60)
    assert slow is not None
    assert quick is not None
    with pytest.raises(StaleClaim):
        finish(database, slow, "committed", clock)
    assert results(database) == [""]
    finish(database, quick, "0112", clock)
    assert results(database) == ["0112"]


def test_only_named_requesters_are_claimed(database: Database, clock: FakeClock) -> None:
    """Results of requesters that cannot be reached from here are left to others."""
    ask(database, clock, "1.2.3.1")
    with database.write() as connection:
        held = table.claim(connection, ASKED, clock.now(), lease_seconds=60)
        assert held is not None
        table.checked(connection, held, clock.now())
        now = clock.now()
        assert table.claim(connection, CHECKED, now, lease_seconds=9, requesters=["X"]) is None
        assert table.claim(connection, CHECKED, now, lease_seconds=9, requesters=["CT1"])


def test_same_transaction_of_another_requester_is_no_repeat(
    database: Database, clock: FakeClock
) -> None:
    """A Transaction UID is one requester's own; used again by the same one it is a repeat."""
    asked = CommitmentAsked("1.2.3", (ReferencedInstance(CT_STORAGE, "1.2.3.1"),))
    for title in ("CT1", "CT2", "CT1", "CT1"):
        by = origin(f"by {title}")
        with database.write() as connection:
            table.store_request(
                connection,
                type(by)(by.association_id, by.channel, calling_ae_title=title),
                asked,
                clock.now(),
                receiver="here",
                max_waiting=10,
            )
    with database.read() as connection:
        rows = table.list_commitments(connection)
    assert [(row.calling_ae_title, row.is_repeat) for row in reversed(rows)] == [
        ("CT1", False),
        ("CT2", False),
        ("CT1", True),
        ("CT1", True),
    ]
