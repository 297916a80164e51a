"""From the spool into an object store: two databases, two servers that speak S3."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db.commitments import Unchecked
from intu_fhir.db.file_checks import images_with, note_damage
from intu_fhir.db.file_tables import removals
from intu_fhir.db.pruning import to_remove
from intu_fhir.db.session import Database
from intu_fhir.db.tables import headers, instances, quarantine, uploads
from intu_fhir.errors import ConfigurationError, DamagedFile, NotHereYet, StoreUnavailable
from intu_fhir.model.instance import Disposition
from intu_fhir.stage.accept import RESTORED
from intu_fhir.stage.describer import Describer
from intu_fhir.stage.promise import Promise
from tests.support.clock import FakeClock
from tests.support.object_stores import ObjectStoreServer, start_object_store
from tests.support.spooling import Machine, machine
from tests.support.studies import make_instance, uid
from tests.support.waiting import wait_until

MakeMachine = Callable[..., Machine]


@contextmanager
def machines(
    database: Database, clock: FakeClock, server: ObjectStoreServer, folder: Path
) -> Iterator[MakeMachine]:
    """Give what makes machines that share a database and a bucket."""
    prefix = uuid.uuid4().hex
    with ExitStack() as stack:

        def one(name: str = "a", **more: Any) -> Machine:
            return stack.enter_context(
                machine(database, clock, server, folder / name, prefix, **more)
            )

        yield one


@pytest.fixture
def make(
    database: Database, clock: FakeClock, object_store: ObjectStoreServer, tmp_path: Path
) -> Iterator[MakeMachine]:
    """Return what makes machines, with each kind of server."""
    with machines(database, clock, object_store, tmp_path) as making:
        yield making


@pytest.fixture
def make_own(
    database: Database, clock: FakeClock, own_store: ObjectStoreServer, tmp_path: Path
) -> Iterator[MakeMachine]:
    """Return what makes machines at a server that the test may kill."""
    with machines(database, clock, own_store, tmp_path) as making:
        yield making


@pytest.fixture
def here(make: MakeMachine) -> Machine:
    """A machine without copies, so that what is read is read from where it is."""
    return make(cache_bytes=0)


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[ObjectStoreServer]:
    """A server that a test may kill."""
    server = start_object_store("versitygw", tmp_path / "own-store")
    yield server
    server.stop()


def send(machine: Machine, *names: str) -> list[str]:
    """Let a machine receive instances of these names; return their files."""
    for name in names:
        accepted = machine.receive(make_instance(SOPInstanceUID=uid(name)))
        assert accepted.disposition is Disposition.STORED
    return [row.file for row in machine.rows(instances)]


def test_success_needs_no_object_store(here: Machine) -> None:
    """At the answer the file is in the spool and the ledger says so; nothing is uploaded yet."""
    [file] = send(here, "one")
    [row] = here.rows(uploads)
    assert (row.file, row.spool, here.spooled()) == (file, here.files.here, [file])
    assert here.bucket() == {}
    assert here.digests_read() == {uid("one"): True}


def test_an_upload_leaves_the_bytes_in_one_place(here: Machine) -> None:
    """Afterwards the bucket has the file, the spool and the ledger have not; readers see it."""
    [file] = send(here, "one")
    content = here.files.path(file).read_bytes()
    assert here.uploader.upload_some() == 1
    assert (here.bucket(), here.spooled(), here.rows(uploads)) == ({file: content}, [], [])
    assert here.digests_read() == {uid("one"): True}
    with here.files.open(file) as stored:
        assert stored.read() == content
    assert here.uploader.upload_some() == 0


def test_everything_twice_leaves_one_of_each(here: Machine) -> None:
    """The same object again, before and after its upload, leaves one object and no file."""
    send(here, "one")
    again = make_instance(SOPInstanceUID=uid("one"))
    assert here.receive(again).disposition is Disposition.ALREADY_STORED
    here.uploader.upload_some()
    assert here.receive(again).disposition is Disposition.ALREADY_STORED
    assert (len(here.bucket()), here.spooled(), here.rows(uploads)) == (1, [], [])


def test_quarantined_bytes_go_there_too(here: Machine) -> None:
    """The second of two different objects is uploaded under its name in quarantine."""
    send(here, "one")
    changed = make_instance(SOPInstanceUID=uid("one"), StudyDescription="Altered")
    assert here.receive(changed).disposition is Disposition.QUARANTINED
    assert here.uploader.upload_some() == 2
    [aside] = here.rows(quarantine)
    assert sorted(here.bucket()) == sorted([aside.file, here.rows(instances)[0].file])
    assert here.spooled() == []


def test_what_the_disk_changed_is_not_uploaded(here: Machine) -> None:
    """A spooled file that is not what came over the network is named and stays where it is."""
    [file] = send(here, "one")
    path = here.files.path(file)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert here.uploader.upload_some() == 0
    [row] = here.rows(uploads)
    assert "other bytes than were received" in row.last_error
    assert (here.bucket(), here.spooled()) == ({}, [file])


def test_what_the_bucket_changed_is_not_believed(here: Machine) -> None:
    """A reader of an object whose bytes have changed gets an error and none of its bytes."""
    [file] = send(here, "one")
    here.uploader.upload_some()
    content = bytearray(here.bucket()[file])
    content[len(content) // 2] ^= 1
    here.server.replace(f"{here.prefix}/{file}", bytes(content))
    for read in (here.files.open, lambda name: here.files.file(name).open("rb")):
        with pytest.raises(DamagedFile, match="restore it"):
            read(file)


def test_bytes_are_promised_as_they_come_from_the_bucket(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage commitment needs no copy: one that takes long to make would outlast its claim."""
    here.receive(make_instance(SOPInstanceUID=uid("large"), PixelData=bytes(5 << 20)))
    here.uploader.upload_some()
    [row] = here.rows(instances)
    staged = (row.sop_class_uid, row.file, row.data_set_offset, row.sha256, row.transfer_syntax_uid)
    asked = Unchecked(1, row.sop_class_uid, row.sop_instance_uid, *staged)
    monkeypatch.setattr("intu_fhir.files.s3.unnamed_file", None)
    beats: list[None] = []
    promise = Promise(here.files, lambda: beats.append(None))
    assert promise.failure(asked, row.file) is None
    assert len(beats) > 4


def test_a_ledger_that_missed_an_upload_hears_of_it(here: Machine) -> None:
    """Killed after the upload and before the ledger knew, the next process only notes it."""
    [file] = send(here, "one")
    [row] = here.rows(uploads)
    here.files.upload(file, row.data_set_offset, row.sha256)
    here.files.release(file)
    assert here.digests_read() == {uid("one"): True}
    assert here.uploader.upload_some() == 1
    assert here.rows(uploads) == []


def test_what_an_upload_finds_lost_is_noted_and_mended_by_sending_it_again(here: Machine) -> None:
    """The row says so after the first try, once; the next object of that UID takes its place."""
    lost, kept = send(here, "one", "two")
    here.files.path(lost).unlink()
    here.uploader.upload_some()
    noted = {row.file: row.damaged_at for row in here.rows(instances)}
    assert noted == {lost: here.clock.now(), kept: None}
    assert here.receive(make_instance(SOPInstanceUID=uid("one"))).reason == RESTORED
    here.uploader.upload_some()
    assert [row.damaged_at for row in here.rows(instances)] == [None, None]
    assert (here.rows(uploads), all(here.digests_read().values())) == ([], True)


def test_a_loss_that_others_have_mended_is_not_noted(here: Machine) -> None:
    """What has another file by now is not called damaged for the sake of the old one."""
    [file] = send(here, "one")
    with here.database.read() as connection:
        found = images_with(connection, [file, "instances/2024/01/01/0000/no.dcm"])
    assert list(found.values()) == [file]
    with here.database.write() as connection:
        connection.execute(sa.update(instances).values(file="instances/another.dcm"))
        note_damage(connection, found, here.clock.now())
    assert here.rows(instances)[0].damaged_at is None


def test_bytes_that_are_nowhere_are_named(here: Machine, clock: FakeClock) -> None:
    """Where neither the spool nor the bucket has a file, the ledger goes on saying so."""
    [file] = send(here, "one")
    here.files.path(file).unlink()
    for attempts in (1, 2):
        assert here.uploader.upload_some() == 0
        [row] = here.rows(uploads)
        assert (row.attempts, row.last_error) == (
            attempts,
            "neither the spool nor the bucket has it",
        )
        clock.advance(61)
    with pytest.raises(FileNotFoundError):
        here.files.open(file)


def test_another_machine_reads_what_is_uploaded(make: MakeMachine, clock: FakeClock) -> None:
    """Before the upload another machine hears whose spool has the bytes, afterwards it reads."""
    first, second = make("a"), make("b")
    [file] = send(first, "one")
    with pytest.raises(NotHereYet, match=first.files.here):
        second.files.file(file).open("rb")
    assert second.uploader.upload_some() == 0
    first.uploader.upload_some()
    assert second.digests_read() == {uid("one"): True}


def test_headers_of_absent_bytes_come_later(make: MakeMachine, clock: FakeClock) -> None:
    """A machine describes what it can read; what waits elsewhere holds up nothing."""
    first, second = make("a"), make("b")
    send(first, "one")
    send(second, "two")

    def describe(at: Machine) -> int:
        return Describer(at.database, at.files, clock, {}).describe_some()

    assert (describe(second), describe(second)) == (1, 0)
    first.uploader.upload_some()
    assert (describe(second), describe(second)) == (1, 0)
    assert len(first.rows(headers)) == 2


def test_copies_spare_the_bucket(make_own: MakeMachine, own_store: ObjectStoreServer) -> None:
    """What was received or read here is read from this disk; a promise never rests on a copy."""
    here = make_own("a")
    [file] = send(here, "one")
    here.uploader.upload_some()
    own_store.crash()
    assert here.digests_read() == {uid("one"): True}
    with pytest.raises(StoreUnavailable):
        here.files.open(file)


def test_an_outage_of_the_store_is_waited_out(
    make_own: MakeMachine, own_store: ObjectStoreServer, clock: FakeClock
) -> None:
    """While it is down objects are taken as ever; once it is back everything is uploaded."""
    here = make_own("a", cache_bytes=0)
    own_store.crash()
    send(here, "one", "two")
    assert here.uploader.upload_some() == 0
    assert {row.attempts for row in here.rows(uploads)} == {1}
    assert here.uploader.upload_some() == 0  # not due again yet
    assert {row.attempts for row in here.rows(uploads)} == {1}
    own_store.start()
    clock.advance(2)
    assert here.uploader.upload_some() == 2
    assert here.digests_read() == {uid("one"): True, uid("two"): True}


def test_a_store_that_hangs_is_given_up(
    make_own: MakeMachine, own_store: ObjectStoreServer, clock: FakeClock
) -> None:
    """A server that keeps connections and says nothing costs its time-out, not for ever."""
    here = make_own("a", timeout_seconds=0.3)
    send(here, "one")
    own_store.freeze()
    try:
        assert here.uploader.upload_some() == 0
    finally:
        own_store.thaw()

    def is_taken() -> bool:
        """0.3 s may be too little for a server that has just woken; then it is tried again."""
        clock.advance(60)
        return here.uploader.upload_some() == 1

    wait_until(is_taken)


def test_an_answer_may_wait_for_the_upload(
    make_own: MakeMachine, own_store: ObjectStoreServer
) -> None:
    """With `answer: uploaded` the bucket has it at Success; while it is down nothing is taken."""
    here = make_own("a", answer="uploaded", cache_bytes=0)
    files = send(here, "one")
    assert (sorted(here.bucket()), here.spooled(), here.rows(uploads)) == (files, [], [])
    again = make_instance(SOPInstanceUID=uid("one"))
    assert here.receive(again).disposition is Disposition.ALREADY_STORED
    changed = make_instance(SOPInstanceUID=uid("one"), StudyDescription="Altered")
    assert here.receive(changed).disposition is Disposition.QUARANTINED
    assert sorted(here.bucket()) == sorted([*files, here.rows(quarantine)[0].file])
    own_store.crash()
    with pytest.raises(StoreUnavailable):
        here.receive(make_instance(SOPInstanceUID=uid("two")))
    assert (len(here.rows(instances)), here.spooled()) == (1, [])


def test_leftovers_go_while_the_store_is_down(
    make_own: MakeMachine, own_store: ObjectStoreServer
) -> None:
    """A receiver starts without the store: a crash's files without a row were never uploaded."""
    here = make_own("a")
    spool = here.files.open_spool(b"head")
    orphan = here.files.place(spool.finish().path, here.clock.now())
    here.files.make_durable(orphan)
    here.files.close()
    own_store.crash()
    assert here.recover() == 1
    assert not here.files.path(orphan).exists()


def test_what_the_bucket_does_not_let_go_is_remembered(
    make_own: MakeMachine, own_store: ObjectStoreServer
) -> None:
    """Uploaded without a row, while the bucket is away, bytes go at the next start with it."""
    here = make_own("a", answer="uploaded", cache_bytes=0)
    spool = here.files.open_spool(b"head")
    orphan = here.files.place(spool.finish().path, here.clock.now())
    own_store.crash()
    with pytest.raises(StoreUnavailable):
        here.files.remove(orphan)
    here.files.close()
    assert here.recover() == 0
    own_store.start()
    assert list(here.bucket()) == [orphan]
    assert here.recover() == 1
    assert (here.bucket(), here.spooled()) == ({}, [])


def test_a_crash_after_upload_and_row_keeps_the_file(here: Machine, make: MakeMachine) -> None:
    """Killed between the row and its note, the next process lets the spooled file go, no more."""
    first = make("b", answer="uploaded", cache_bytes=0)
    first.files.confirm = lambda name: None  # type: ignore[method-assign]
    [file] = send(first, "one")
    assert first.spooled() == [file]
    first.files.close()
    assert first.recover() == 0
    assert (first.spooled(), list(first.bucket())) == ([], [file])


def test_a_removed_instance_is_nowhere(here: Machine) -> None:
    """Removal takes a file from the bucket, also where its upload comes to an end meanwhile."""
    files = send(here, "one", "two")
    here.uploader.upload_some()
    here.files.remove(files[0])
    assert list(here.bucket()) == [files[1]]
    [late] = set(send(here, "three")) - set(files)
    upload = here.files.upload

    def upload_while_removed(name: str, *rest: Any) -> None:
        upload(name, *rest)
        with here.database.write() as connection:
            connection.execute(sa.delete(uploads).where(uploads.c.file == name))

    here.files.upload = upload_while_removed  # type: ignore[method-assign]
    here.uploader.upload_some()
    assert late not in here.bucket()


def test_two_processes_of_a_machine_take_turns(make: MakeMachine) -> None:
    """While one uploads from a spool another one finds nothing to do; both are one machine."""
    first, second = make("a"), make("a")
    assert first.files.here == second.files.here
    send(first, "one")
    with first.files.turn() as alone:
        assert alone
        assert second.uploader.upload_some() == 0
    assert second.uploader.upload_some() == 1


def test_a_local_store_is_not_taken_for_a_spool(here: Machine, make: MakeMachine) -> None:
    """A folder with files of its own is refused, with what to do, before anything is touched."""
    send(here, "one")
    (here.settings.spool / "spool-name").unlink()
    with pytest.raises(ConfigurationError, match="uploads adopt"):
        make("a")


def test_sealed_files_say_nothing(make: MakeMachine, tmp_path: Path) -> None:
    """With key files the bucket gets no readable byte, and readers get every one."""
    (tmp_path / "key").write_text("7" * 64)
    here = make("a", key_files=[tmp_path / "key"], cache_bytes=0)
    here.receive(make_instance(SOPInstanceUID=uid("one"), PatientName="Sealed^Patient"))
    here.uploader.upload_some()
    [content] = here.bucket().values()
    assert b"Sealed" not in content
    assert b"DICM" not in content
    assert here.digests_read() == {uid("one"): True}
    other = make("b", cache_bytes=0)
    with pytest.raises(DamagedFile, match="key_files"):
        other.digests_read()


@pytest.mark.parametrize("answer", ["spooled", "uploaded"])
def test_what_is_sent_again_after_pruning_is_uploaded_again(
    make: MakeMachine, clock: FakeClock, answer: str
) -> None:
    """The new file of a pruned instance waits for its upload as the first one did."""
    here = make(answer=answer, cache_bytes=0)
    [old] = send(here, "one")
    here.uploader.upload_some()
    with here.database.write() as connection:
        connection.execute(sa.update(instances).values(pruned_at=here.clock.now()))
    assert here.files.remove_all([old])
    assert (here.spooled(), here.bucket()) == ([], {})
    clock.advance(86_400)
    again = here.receive(make_instance(SOPInstanceUID=uid("one")))
    assert again.disposition is Disposition.ALREADY_STORED
    here.uploader.upload_some()
    assert (here.spooled(), here.rows(uploads)) == ([], [])
    assert list(here.bucket()) == [here.rows(instances)[0].file] != [old]
    assert all(here.digests_read().values())


def test_what_a_lost_spool_had_is_taken_again(make: MakeMachine) -> None:
    """A machine with a new disk takes what is sent again, and it reaches the bucket (I1)."""
    old = make("disk", cache_bytes=0)
    [lost] = send(old, "one")
    shutil.rmtree(old.settings.spool)
    new = make("disk", cache_bytes=0)
    assert new.files.here != old.files.here
    again = new.receive(make_instance(SOPInstanceUID=uid("one")))
    assert (again.disposition, again.reason) == (Disposition.ALREADY_STORED, RESTORED)
    assert all(new.digests_read().values())
    [row] = new.rows(instances)
    assert new.spooled() == [row.file] != [lost]
    new.uploader.upload_some()
    assert list(new.bucket()) == [row.file]
    assert [one.spool for one in new.rows(uploads)] == [old.files.here]


def test_what_waits_on_another_machine_is_kept_by_both_until_it_is_there(make: MakeMachine) -> None:
    """Sent again to another receiver: its copy counts at once, the first one goes after upload."""
    first, second = make("a", cache_bytes=0), make("b", cache_bytes=0)
    [old] = send(first, "one")
    again = second.receive(make_instance(SOPInstanceUID=uid("one")))
    assert again.reason == RESTORED
    [row] = second.rows(instances)
    second.uploader.upload_some()
    first.uploader.upload_some()
    assert (first.spooled(), second.spooled(), second.rows(uploads)) == ([], [], [])
    with second.database.read() as connection:
        assert to_remove(connection, 10) == [old]
    assert second.files.remove_all([old])
    assert list(second.bucket()) == [row.file]
    assert all(second.digests_read().values())


def test_the_first_copy_goes_where_its_machine_starts_anew(
    make: MakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sent again to another receiver while its own was dead: nothing is left to upload, or lost."""
    first, second = make("a", cache_bytes=0), make("b", cache_bytes=0)
    first.files.confirm = lambda name: None  # type: ignore[method-assign]
    [old] = send(first, "one")
    first.files.close()  # killed after its row, before it noted that
    assert second.receive(make_instance(SOPInstanceUID=uid("one"))).reason == RESTORED
    second.uploader.upload_some()
    assert first.recover() == 1
    first.uploader.upload_some()
    assert (first.spooled(), first.rows(uploads)) == ([], [])
    assert "file_lost" not in capsys.readouterr().out
    with second.database.read() as connection:
        assert to_remove(connection, 10) == [old]
    assert all(second.digests_read().values())


def test_what_the_bucket_lost_is_taken_again(here: Machine, clock: FakeClock) -> None:
    """An object that is gone from the bucket comes again when its modality sends it again."""
    [old] = send(here, "one")
    here.uploader.upload_some()
    here.files.remove_all([old])
    clock.advance(60)
    again = here.receive(make_instance(SOPInstanceUID=uid("one")))
    assert again.reason == RESTORED
    here.uploader.upload_some()
    assert list(here.bucket()) == [here.rows(instances)[0].file] != [old]


def test_a_silent_bucket_is_asked_once_by_those_that_send_again(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is down, what comes again is kept in the spool, and nobody waits for it twice."""
    send(here, "one", "two")
    here.uploader.upload_some()
    asked = []

    def silent(name: str) -> bool:
        asked.append(name)
        raise StoreUnavailable("the object store does not answer")

    monkeypatch.setattr(here.files, "has", silent)
    for name in ("one", "two"):
        again = here.receive(make_instance(SOPInstanceUID=uid(name)))
        assert (again.disposition, again.reason) == (Disposition.ALREADY_STORED, RESTORED)
    assert (len(asked), len(here.spooled())) == (1, 2)
    monkeypatch.undo()
    here.uploader.upload_some()
    assert all(here.digests_read().values())


def test_pruning_waits_for_an_upload(here: Machine) -> None:
    """A file that still waits is removed after its upload, so that nothing stays in the bucket."""
    [file] = send(here, "one")
    with here.database.write() as connection:
        connection.execute(sa.insert(removals).values(file=file, asked_at=here.clock.now()))
        assert to_remove(connection, 10) == []
    here.uploader.upload_some()
    with here.database.read() as connection:
        assert to_remove(connection, 10) == [file]


def test_a_damaged_file_that_is_sent_again_waits_no_longer(here: Machine) -> None:
    """Its upload can never succeed, so it is given up once a sound file takes its place."""
    [bad] = send(here, "one")
    with here.files.path(bad).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    with here.database.write() as connection:
        connection.execute(sa.update(instances).values(damaged_at=here.clock.now()))
    here.receive(make_instance(SOPInstanceUID=uid("one")))
    here.uploader.upload_some()
    assert here.rows(uploads) == []
    assert list(here.bucket()) == [here.rows(instances)[0].file] != [bad]
    with here.database.read() as connection:
        assert to_remove(connection, 10) == [bad]
