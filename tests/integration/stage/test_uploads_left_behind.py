"""Objects that a bucket does not let go: tried again until they are gone, on both databases."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from intu_fhir.db.file_tables import removals
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, quarantine, uploads
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.instance import Accepted, Disposition
from intu_fhir.stage.recover import recover
from intu_fhir.upkeep.prune import Prune
from tests.support.clock import FakeClock
from tests.support.object_stores import ObjectStoreServer
from tests.support.spooling import Machine, machine
from tests.support.store_proxy import StoreProxy
from tests.support.studies import make_instance, uid

EVERYTHING = {".dcm"}


@pytest.fixture
def proxy(object_store: ObjectStoreServer) -> Iterator[StoreProxy]:
    """A way to each kind of server."""
    one = StoreProxy(object_store)
    yield one
    one.close()


Make = Callable[..., Machine]


@pytest.fixture
def make(database: Database, clock: FakeClock, proxy: StoreProxy, tmp_path: Path) -> Iterator[Make]:
    """What makes machines without copies, behind the proxy."""
    prefix = uuid.uuid4().hex
    with ExitStack() as stack:

        def one(**settings: Any) -> Machine:
            made = machine(
                database, clock, proxy, tmp_path / "spool", prefix, cache_bytes=0, **settings
            )
            return stack.enter_context(made)

        yield one


@pytest.fixture
def here(make: Make) -> Machine:
    """A machine that answers when the bucket has an object."""
    return make(answer="uploaded")


def _full(_: object, meanwhile: Callable[[], None] | None = None) -> Any:
    """Refuse a row as a database does whose disk is full."""
    if meanwhile is not None:
        meanwhile()
    raise StoreUnavailable("the disk of the database is full")


def refused(here: Machine, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the database refuse an object once it is uploaded; return the name of its file."""
    with monkeypatch.context() as patch:
        patch.setattr(here.accept.rows, "submit", _full)
        with pytest.raises(StoreUnavailable, match="full"):
            here.receive(make_instance(SOPInstanceUID=uid("refused")))
    [file] = here.spooled()
    return file


def changed(here: Machine) -> Accepted:
    """Receive an object, then another one of the same UID."""
    here.receive(make_instance(SOPInstanceUID=uid("one")))
    return here.receive(make_instance(SOPInstanceUID=uid("one"), StudyDescription="Altered"))


def digest(here: Machine, name: str) -> str:
    """Return the hash of the data set in a stored file of these tests."""
    offset = here.rows(instances)[0].data_set_offset
    with here.files.open(name) as file:
        return hashlib.sha256(file.read()[offset:]).hexdigest()


def waiting(here: Machine) -> list[str]:
    """Return what is written down for removal."""
    return [row.file for row in here.rows(removals)]


def test_what_the_bucket_keeps_after_a_refusal_goes_without_a_restart(
    here: Machine, proxy: StoreProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process tries again by itself, less and less often, and the file waits in the spool."""
    proxy.keeps = EVERYTHING
    file = refused(here, monkeypatch)
    proxy.removals.clear()
    with capture_logs() as logs:
        for _ in range(3):
            here.uploader.upload_some()
    assert [(one["event"], one["file"]) for one in logs] == [("leftover_stays", file)]
    assert (list(here.bucket()), here.spooled(), len(proxy.removals)) == ([file], [file], 1)
    clock.advance(1)
    here.uploader.upload_some()
    clock.advance(1)
    here.uploader.upload_some()  # by now it waits for two seconds
    assert len(proxy.removals) == 2
    proxy.keeps = set()
    clock.advance(1)
    here.uploader.upload_some()
    assert (here.bucket(), here.spooled(), here.files.without_row()) == ({}, [], 0)
    assert (here.files.left_behind(), waiting(here)) == ([], [])


def test_what_the_bucket_keeps_goes_while_the_database_is_away(
    here: Machine, proxy: StoreProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refused the row is not needed to remove what came of it."""
    proxy.keeps = EVERYTHING
    refused(here, monkeypatch)
    proxy.keeps = set()

    def away() -> Any:
        raise StoreUnavailable("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(here.database, "read", away)
        with pytest.raises(StoreUnavailable, match="database"):
            here.uploader.upload_some()
    assert (here.bucket(), here.spooled()) == ({}, [])


def test_a_process_that_ends_first_leaves_it_to_the_next_one(
    here: Machine, proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it was tried in vain, the start of the next process tries again."""
    proxy.keeps = EVERYTHING
    refused(here, monkeypatch)
    here.uploader.upload_some()
    here.files.close()
    proxy.keeps = set()
    assert here.recover() == 1
    assert (here.bucket(), here.spooled()) == ({}, [])


def test_what_the_bucket_keeps_is_removed_in_parts(
    here: Machine, proxy: StoreProxy, clock: FakeClock
) -> None:
    """One round removes 64 at most; an object that has to stay keeps no other one from going."""
    names = [
        here.files.place(here.files.open_spool(b"head").finish().path, clock.now())
        for _ in range(67)
    ]
    proxy.keeps = EVERYTHING
    for name in names:
        with pytest.raises(StoreUnavailable):
            here.files.remove(name)
    proxy.keeps = {names[0]}
    assert len(here.bucket()) == 67
    proxy.removals.clear()
    here.uploader.upload_some()
    assert (len(proxy.removals), len(here.bucket())) == (1, 67)
    clock.advance(1)
    here.uploader.upload_some()
    assert (len(proxy.removals), len(here.bucket())) == (65, 3)
    here.uploader.upload_some()
    assert (list(here.bucket()), here.spooled()) == ([names[0]], [names[0]])
    proxy.keeps = set()
    clock.advance(60)
    here.uploader.upload_some()
    assert (here.bucket(), here.spooled()) == ({}, [])


def test_what_quarantine_leaves_behind_is_removed_later(
    here: Machine, proxy: StoreProxy, clock: FakeClock
) -> None:
    """The object under the old name is written down with the row; that in quarantine is whole."""
    proxy.keeps = EVERYTHING
    assert changed(here).disposition is Disposition.QUARANTINED
    [stored], [aside] = here.rows(instances), here.rows(quarantine)
    [old] = here.bucket().keys() - {stored.file, aside.file}
    assert (waiting(here), here.spooled()) == ([old], [])
    assert digest(here, aside.file) == aside.sha256
    here.uploader.upload_some()
    assert old in here.bucket()
    proxy.keeps = set()
    clock.advance(60)
    here.uploader.upload_some()
    assert here.bucket().keys() == {stored.file, aside.file}


def test_what_quarantine_leaves_behind_outlives_its_process(
    here: Machine, make: Make, proxy: StoreProxy, clock: FakeClock
) -> None:
    """Another process removes what is written down, and nothing else."""
    proxy.keeps = EVERYTHING
    changed(here)
    here.files.close()
    proxy.keeps = set()
    other = make(answer="uploaded")
    assert Prune(here.database, other.files, clock, Pruner("other")).remove_files() == 1
    [stored], [aside] = here.rows(instances), here.rows(quarantine)
    assert (here.bucket().keys(), waiting(here)) == ({stored.file, aside.file}, [])


def test_what_is_refused_on_its_way_to_quarantine_leaves_nothing_in_the_end(
    here: Machine, proxy: StoreProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of its objects go, and until then its file is in the spool as it was."""
    proxy.keeps = EVERYTHING
    submit = here.accept.asides.submit

    def full(do: Any) -> Any:
        return submit(do) if do.func.__name__ == "is_quarantined" else _full(do)

    with monkeypatch.context() as patch:
        patch.setattr(here.accept.asides, "submit", full)
        with pytest.raises(StoreUnavailable, match="full"):
            changed(here)
    [aside], [stored] = here.spooled(), here.rows(instances)
    assert here.files.path(aside).stat().st_size > stored.data_set_offset
    [old] = here.bucket().keys() - {stored.file, aside}
    here.uploader.upload_some()
    assert waiting(here) == [old]
    proxy.keeps = set()
    clock.advance(60)
    here.uploader.upload_some()
    assert (list(here.bucket()), here.spooled()) == ([stored.file], [])


def test_what_was_removed_during_its_upload_is_not_forgotten(
    make: Make, proxy: StoreProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects whose rows went meanwhile go as well, though the bucket keeps them at first."""
    here = make()
    for name in ("one", "two"):
        here.receive(make_instance(SOPInstanceUID=uid(name)))
    upload = here.files.upload

    def upload_while_removed(name: str, *rest: Any) -> None:
        upload(name, *rest)
        with here.database.write() as connection:
            connection.execute(sa.delete(uploads).where(uploads.c.file == name))

    proxy.keeps = EVERYTHING
    monkeypatch.setattr(here.files, "upload", upload_while_removed)
    assert here.uploader.upload_some() == 2
    here.uploader.upload_some()
    assert waiting(here) == sorted(here.bucket()) == sorted(here.files.left_behind())
    proxy.keeps = set()
    clock.advance(60)
    here.uploader.upload_some()
    assert here.bucket() == {}


def test_what_a_start_cannot_remove_is_removed_while_the_process_lives(
    here: Machine, make: Make, proxy: StoreProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orphan of a dead process goes as soon as the bucket lets it, without another start."""
    proxy.keeps = EVERYTHING
    refused(here, monkeypatch)
    here.files.close()
    living = make(answer="uploaded")
    assert recover(living.database, living.files, "here", clock.now()) == 0
    proxy.keeps = set()
    living.uploader.upload_some()
    assert (living.bucket(), living.spooled()) == ({}, [])
    assert here.recover() == 0


def test_a_copy_too_many_that_the_bucket_keeps_is_no_matter_of_its_sender(
    here: Machine, proxy: StoreProxy, clock: FakeClock
) -> None:
    """What is stored, or in quarantine, already is answered so; the second object goes later."""
    altered = make_instance(SOPInstanceUID=uid("one"), StudyDescription="Altered")
    changed(here)
    before = here.bucket()
    proxy.keeps = EVERYTHING
    again = here.receive(make_instance(SOPInstanceUID=uid("one")))
    assert (again.disposition, again.reason) == (Disposition.ALREADY_STORED, "same_bytes")
    assert here.receive(altered).disposition is Disposition.QUARANTINED
    assert (len(here.bucket()), len(here.rows(quarantine))) == (4, 1)
    proxy.keeps = set()
    here.uploader.upload_some()
    assert (here.bucket(), here.spooled(), here.files.without_row()) == (before, [], 0)


def test_what_was_stored_though_the_bucket_said_no_is_removed_later(
    here: Machine, proxy: StoreProxy, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload whose answer was lost is no Success; its object goes as soon as the bucket lets it.

    Through an outage not every such name is remembered.
    """
    monkeypatch.setattr("intu_fhir.files.s3._MOST_DOUBTFUL", 2)
    proxy.keeps, proxy.denies = EVERYTHING, True
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="upload"):
            here.receive(make_instance(SOPInstanceUID=uid("one")))
    assert (len(here.bucket()), here.spooled(), here.rows(instances)) == (3, [], [])
    here.uploader.upload_some()
    assert waiting(here) == sorted(here.files.left_behind())
    proxy.keeps, proxy.denies = set(), False
    clock.advance(60)
    here.uploader.upload_some()
    assert (len(here.bucket()), here.files.left_behind()) == (1, [])
