"""What an object store is asked for, and that its word alone is not believed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.commitment_requests import store_request
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, storage_commitment_items, uploads
from intu_fhir.model.commitment import CommitmentAsked, ReferencedInstance
from intu_fhir.settings.schema import StorageCommitment
from intu_fhir.stage.commitments import Commitments
from intu_fhir.upkeep.verify import WITHHELD, Verifier
from tests.support.clock import FakeClock
from tests.support.object_stores import ObjectStoreServer
from tests.support.spooling import Machine, machine
from tests.support.staging import origin
from tests.support.store_proxy import StoreProxy
from tests.support.studies import make_instance


@pytest.fixture
def proxy(object_store: ObjectStoreServer) -> Iterator[StoreProxy]:
    """A way to each kind of server."""
    one = StoreProxy(object_store)
    yield one
    one.close()


class Machines:
    """Makes machines behind the proxy."""

    def __init__(self, database: Database, proxy: StoreProxy, folder: Path) -> None:
        self._database, self._proxy, self._folder = database, proxy, folder
        self.clock, self.stack = FakeClock(), ExitStack()

    def make(self, **settings: Any) -> Machine:
        """Make one without copies, with one object in its spool."""
        here = machine(
            self._database,
            self.clock,
            self._proxy,
            self._folder,
            uuid.uuid4().hex,
            cache_bytes=0,
            **settings,
        )
        made = self.stack.enter_context(here)
        made.receive(make_instance())
        return made


@pytest.fixture
def machines(database: Database, proxy: StoreProxy, tmp_path: Path) -> Iterator[Machines]:
    """What makes machines, on each database."""
    one = Machines(database, proxy, tmp_path / "spool")
    with one.stack:
        yield one


def _upload_all(here: Machine, clock: FakeClock) -> None:
    for _ in range(3):
        clock.advance(3_600)
        here.uploader.upload_some()


def test_an_upload_counts_when_it_was_read_back(machines: Machines, proxy: StoreProxy) -> None:
    """An object that comes back with another byte is sent again; until then the spool has it."""
    here = machines.make()
    proxy.spoils = True
    _upload_all(here, machines.clock)
    [file] = here.spooled()
    [waiting] = here.rows(uploads)
    assert (waiting.file, len(proxy.puts) >= 2) == (file, True)
    proxy.spoils = False
    _upload_all(here, machines.clock)
    assert (here.spooled(), here.rows(uploads)) == ([], [])
    assert set(here.digests_read().values()) == {True}


def test_encryption_at_rest_is_asked_for(machines: Machines, proxy: StoreProxy) -> None:
    """Each object is stored with the encryption and the key that the site names."""
    _upload_all(machines.make(server_side_encryption="aws:kms", kms_key_id="key-1"), machines.clock)
    said = [
        (
            one.get("x-amz-server-side-encryption"),
            one.get("x-amz-server-side-encryption-aws-kms-key-id"),
        )
        for one in proxy.puts
    ]
    assert said == [("aws:kms", "key-1")]


def test_a_checksum_goes_with_each_object(machines: Machines, proxy: StoreProxy) -> None:
    """The store can see for itself that it got what was sent (SHA-256)."""
    _upload_all(machines.make(), machines.clock)
    assert all(one.get("x-amz-checksum-sha256") for one in proxy.puts)
    assert proxy.puts


def test_a_key_that_may_not_read_condemns_nothing(machines: Machines, proxy: StoreProxy) -> None:
    """An object that the store refuses to give is withheld; its row says nothing of damage."""
    here = machines.make()
    _upload_all(here, machines.clock)
    assert here.spooled() == []
    proxy.refuses = True
    report = Verifier(here.database, here.files, machines.clock).run()
    assert [one.what for one in report.faults] == [WITHHELD]
    assert [row.damaged_at for row in here.rows(instances)] == [None]


def _ask_to_commit(here: Machine, clock: FakeClock) -> list[str]:
    """Ask for storage commitment of what is here; return what was found of each so far."""
    asked = tuple(
        ReferencedInstance(row.sop_class_uid, row.sop_instance_uid) for row in here.rows(instances)
    )
    with here.database.write() as connection:
        information = CommitmentAsked(f"1.2.{clock.monotonic():.0f}", asked)
        store_request(connection, origin("asking"), information, clock.now(), receiver="here")
    classes = {one.sop_class_uid for one in asked}
    looking = Commitments(here.database, here.files, clock, "here", StorageCommitment(), classes)
    while looking.work_some():
        pass
    return [row.result for row in here.rows(storage_commitment_items)]


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_an_object_that_is_not_what_was_put_there_is_told_and_noted(
    machines: Machines, proxy: StoreProxy, harm: str
) -> None:
    """Storage commitment notes in the row what it finds of an object, so that it comes again."""
    here = machines.make()
    _upload_all(here, machines.clock)
    [row] = here.rows(instances)
    if harm == "gone":
        here.files.remove(row.file)
    else:
        proxy.spoils = True
    assert _ask_to_commit(here, machines.clock) == ["0110"]
    assert [row.damaged_at for row in here.rows(instances)] == [machines.clock.now()]


def test_an_object_that_may_not_be_read_is_waited_for(
    machines: Machines, proxy: StoreProxy
) -> None:
    """A store that refuses to give it says nothing of it: nothing is told yet, and not noted."""
    here = machines.make()
    _upload_all(here, machines.clock)
    proxy.refuses = True
    assert _ask_to_commit(here, machines.clock) == [""]
    assert [row.damaged_at for row in here.rows(instances)] == [None]
