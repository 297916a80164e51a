"""Upkeep where files are in an object store: what is where, and is it what was received."""

from __future__ import annotations

import csv
import io
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.cli.main import run
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, uploads
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.bucket import Bucket
from intu_fhir.upkeep.verify import Verifier
from tests.support.clock import FakeClock
from tests.support.object_stores import BUCKET, ObjectStoreServer, start_object_store
from tests.support.site_folder import write_site
from tests.support.spooling import Machine, machine
from tests.support.studies import make_instance, uid


@dataclass
class Stocked:
    """A machine with the folder of its configuration, whose commands are run."""

    folder: Path
    machine: Machine
    capsys: pytest.CaptureFixture[str]

    def send(self, *names: str) -> None:
        """Receive instances of these names; nothing is uploaded."""
        for name in names:
            self.machine.receive(make_instance(SOPInstanceUID=uid(name)))

    def upload(self) -> None:
        """Upload what waits."""
        while self.machine.uploader.upload_some():
            pass

    def file_of(self, name: str) -> str:
        """Return the file of an instance."""
        rows = self.machine.rows(instances)
        return str(next(row.file for row in rows if row.sop_instance_uid == uid(name)))

    def object_of(self, name: str) -> str:
        """Return the path of its object in the bucket."""
        return f"{self.machine.prefix}/{self.file_of(name)}"

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, what it said, and its errors."""
        self.capsys.readouterr()
        code = run([*words, "--config", str(self.folder)])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def verify(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Run ``files verify``; return its exit code and its report."""
        code, out, _ = self.run("files", "verify", "--json", *options)
        report: dict[str, Any] = json.loads(out)
        return code, report

    def faults(self, *options: str) -> dict[str, str]:
        """Run ``files verify``; return what is wrong by SOP Instance UID."""
        found = self.verify(*options)[1]["faults"]
        return {one["sop_instance_uid"]: one["what"] for one in found}

    def noted(self) -> set[str]:
        """Return the instances whose rows say that they are damaged."""
        rows = self.machine.rows(instances)
        return {row.sop_instance_uid for row in rows if row.damaged_at is not None}


class Sites:
    """Makes machines of one site."""

    def __init__(
        self,
        database: Database,
        server: ObjectStoreServer,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._database, self._server, self._folder = database, server, folder
        self._capsys, self._prefix, self._stack = capsys, uuid.uuid4().hex, ExitStack()

    def make(self, name: str, **settings: Any) -> Stocked:
        """Make one with a spool of its own."""
        folder = self._folder / name
        spool = folder / "spool"
        here = self._stack.enter_context(
            machine(
                self._database,
                FakeClock(),
                self._server,
                spool,
                self._prefix,
                cache_bytes=0,
                **settings,
            )
        )
        url = self._database.engine.url.render_as_string(hide_password=False)
        section = self._server.settings(spool, cache_bytes=0, **settings)
        place = f"s3://{BUCKET}/{self._prefix}"
        write_site(folder, database=url, port=4104, files=place, object_store=section)
        return Stocked(folder, here, self._capsys)

    def close(self) -> None:
        """End all of them."""
        self._stack.close()


@pytest.fixture
def sites(
    database: Database,
    object_store: ObjectStoreServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Sites]:
    """What makes machines, with each kind of server and database."""
    one = Sites(database, object_store, tmp_path, capsys)
    yield one
    one.close()


@pytest.fixture
def site(sites: Sites) -> Stocked:
    """A machine with two objects in the bucket and one in its spool."""
    one = sites.make("a")
    one.send("one", "two")
    one.upload()
    one.send("three")
    return one


def test_bucket_and_spool_are_as_received(site: Stocked) -> None:
    """Each file is read where it is; nothing is wrong where nothing went wrong."""
    for options in ((), ("--quick",)):
        code, said = site.verify(*options)
        assert (code, said["checked"], said["elsewhere"]) == (0, 3, 0)
        assert (said["faults"], said["without_row"]) == ([], [])


def test_rot_and_loss_are_found_where_they_are(site: Stocked) -> None:
    """Damaged and missing objects, and a damaged file of the spool, are named and noted."""
    server = site.machine.server
    whole = server.objects()[site.object_of("one")]
    server.replace(site.object_of("one"), whole[:-1] + bytes([whole[-1] ^ 1]))
    site.machine.files.remove(site.file_of("two"))
    path = site.machine.files.path(site.file_of("three"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    wrong = {uid("one"): "damaged", uid("two"): "missing", uid("three"): "damaged"}
    assert site.verify()[0] == 1
    assert site.faults() == wrong
    assert site.faults("--quick") == wrong  # it reads what is noted
    assert site.noted() == wrong.keys()
    server.replace(site.object_of("one"), whole)
    assert site.faults().keys() == site.noted() == {uid("two"), uid("three")}


def test_a_whole_object_that_is_another_one_is_found(site: Stocked) -> None:
    """An object that agrees with itself, and not with its row, is damaged too."""
    other = io.BytesIO(site.machine.server.objects()[site.object_of("two")])
    settings = site.machine.settings
    Bucket(f"s3://{BUCKET}/{site.machine.prefix}", settings).put(site.file_of("one"), other)
    assert site.faults() == {uid("one"): "damaged"}


def test_what_waits_elsewhere_is_no_fault(site: Stocked, sites: Sites) -> None:
    """Another machine counts what waits in this spool, and finds no fault with it."""
    other = sites.make("b")
    code, said = other.verify()
    assert (code, said["checked"], said["elsewhere"], said["faults"]) == (0, 3, 1, [])
    assert "1 files wait in the spools of other machines" in other.run("files", "verify")[1]
    assert other.noted() == set()


def test_a_key_that_is_absent_condemns_nothing(sites: Sites, tmp_path: Path) -> None:
    """Sealed objects are checked with their key; without it they are locked, not damaged."""
    (tmp_path / "key").write_text("7" * 64)
    sealed = sites.make("a", key_files=[str(tmp_path / "key")])
    sealed.send("one")
    sealed.upload()
    assert sealed.faults() == {}
    other = sites.make("b")
    code, _, errors = other.run("files", "verify")
    assert (code, "object_store.key_files" in errors) == (1, True)
    assert other.faults() == {uid("one"): "locked"}
    assert other.noted() == set()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ObjectStoreServer]:
    """A server that a test may stop or spoil."""
    server = start_object_store("moto", tmp_path)
    yield server
    server.stop()


@pytest.fixture
def own_site(
    database: Database,
    own_server: ObjectStoreServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Stocked]:
    """A machine on that server, with one object in the bucket."""
    sites = Sites(database, own_server, tmp_path, capsys)
    site = sites.make("a")
    site.send("one")
    site.upload()
    assert site.machine.spooled() == []
    yield site
    sites.close()


def test_an_object_that_the_store_withholds_is_not_condemned(own_site: Stocked) -> None:
    """What lies in cold storage is withheld until somebody restores it: the row stays sound."""
    own_site.machine.server.freeze_object(own_site.object_of("one"))
    code, _, errors = own_site.run("files", "verify")
    assert (code, "see that the key of the object store may read them" in errors) == (1, True)
    assert own_site.faults() == {uid("one"): "withheld"}
    assert own_site.noted() == set()


def test_a_store_that_is_down_condemns_nothing(
    own_site: Stocked, own_server: ObjectStoreServer
) -> None:
    """Without an answer of the store the check ends at once and says so; no row is touched."""
    own_server.stop()
    counted: list[int] = []
    here = own_site.machine
    verifier = Verifier(here.database, here.files, FakeClock(), on_progress=counted.append)
    with pytest.raises(StoreUnavailable):
        verifier.run()
    assert counted == []
    code, _, errors = own_site.run("files", "verify")
    assert (code != 0, "see that it answers" in errors) == (True, True)
    assert own_site.noted() == set()


def test_a_backup_names_the_objects_and_copies_the_spool(site: Stocked, sites: Sites) -> None:
    """Database, spool and a list of what belongs to it; what waits elsewhere is said."""
    code, out, _ = site.run("backup", str(site.folder / "backup"))
    assert (code, "2 objects of s3://" in out, "versioned or replicated" in out) == (0, True, True)
    waiting = site.file_of("three")
    there = {path.name.partition(".")[0] for path in (site.folder / "backup").iterdir()}
    assert there == {"staging", "objects", "files"}
    assert not list((site.folder / "backup").glob("*.new*"))
    assert (site.folder / "backup" / "files" / waiting).is_file()
    with (site.folder / "backup" / "objects.csv").open(encoding="utf-8", newline="") as file:
        listed = {row["file"]: (row["sha256"], row["spool"]) for row in csv.DictReader(file)}
    spools = {waiting: site.machine.files.here}
    rows = site.machine.rows(instances)
    assert listed == {row.file: (row.sha256, spools.get(row.file, "")) for row in rows}
    other = sites.make("b")
    code, _, errors = other.run("backup", str(other.folder / "backup"))
    assert (code, "1 files wait in the spools of other machines" in errors) == (0, True)


def test_a_lost_spool_is_put_back(site: Stocked, sites: Sites) -> None:
    """From the backup of its machine, under its old name, a spool goes on uploading."""
    backup, spool = site.folder / "backup", site.machine.settings.spool
    assert site.run("backup", str(backup))[0] == 0
    name = site.machine.files.here
    site.machine.close()
    shutil.rmtree(spool)
    shutil.copytree(backup / "files", spool)
    (spool / "spool-name").write_text(f"{name}\n")
    again = sites.make("a")
    assert again.verify()[0] == 0
    again.upload()
    assert (again.machine.spooled(), len(again.machine.bucket())) == ([], 3)
    assert again.verify()[0] == 0


def test_objects_of_nobody_are_adopted(site: Stocked) -> None:
    """After a restore of the database, objects and spooled files get rows, and one place each."""
    with site.machine.database.write() as connection:
        for table in (uploads, instances):
            connection.execute(table.delete())
    names = sorted([*site.machine.bucket(), *site.machine.spooled()])
    code, said = site.verify()
    assert (code, said["without_row"]) == (1, names)
    site.machine.files.close()  # nothing is adopted while somebody writes
    assert site.run("files", "adopt")[0] == 0
    code, said = site.verify()
    assert (code, said["checked"], said["without_row"]) == (0, 3, [])
    assert not {*site.machine.bucket()} & {*names}
    assert [path.name for path in site.machine.settings.spool.glob("adopting-*")] == []
