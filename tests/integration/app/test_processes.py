"""Several receiving processes on one port, with the guarantees of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.uid import CTImageStorage

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.session import Database
from intu_fhir.db.tables import associations, instances
from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.load import load_configuration
from tests.support.ports import free_port
from tests.support.raw_peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    RawPeer,
    associate_request,
    status_of,
    store_command,
)
from tests.support.requester import Requester
from tests.support.site_folder import write_site
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

Start = Callable[..., Site]


@pytest.fixture
def start(tmp_path: Path, migrated_database_url: str) -> Iterator[Start]:
    """Start a site of three receiving processes."""
    started: list[Site] = []

    def begin(**receiver: Any) -> Site:
        write_site(
            tmp_path,
            database=migrated_database_url,
            port=free_port(),
            receiver={"processes": 3, "shutdown_grace_seconds": 5, **receiver},
        )
        site = Site(open_app(load_configuration(tmp_path)), log_level="WARNING")
        started.append(site)
        site.start()
        return site

    yield begin
    for site in started:
        site.stop()


def rows(site: Site, *columns: Any) -> list[Any]:
    """Return what staging says."""
    with site.app.database.read() as connection:
        return list(connection.execute(sa.select(*columns)).all())


def children(site: Site) -> list[int]:
    """Return the process ids of the other processes."""
    assert site.processes is not None
    return site.processes.pids()


def store(port: int, study: str, numbers: range) -> list[tuple[str, str]]:
    """Store instances on one association; return UID and digest of those answered 0000."""
    stored = []
    with RawPeer(port) as peer:
        peer.associate(called="INTU_TEST")
        for number in numbers:
            data = data_set_bytes(make_instance(study, 1, number))
            if status_of(peer.store(data, uid(study, 1, number))) == 0:
                stored.append((uid(study, 1, number), sha256(data).hexdigest()))
        peer.release()
    return stored


def kept(site: Site) -> list[tuple[str, str]]:
    """Return UID and digest of every staged instance, as its file really is."""
    found = []
    columns = instances.c.sop_instance_uid, instances.c.file, instances.c.data_set_offset
    for one, file, offset in rows(site, *columns):
        found.append((one, sha256(site.app.files.path(file).read_bytes()[offset:]).hexdigest()))
    return sorted(found)


def test_all_processes_store_into_one_staging(start: Start) -> None:
    """Senders are spread over the processes; what they stored is there, once and whole."""
    site = start()
    port = site.listeners[0].port
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: store(port, f"study {n}", range(1, 6)), range(24)))
    assert sum(map(len, sent)) == 24 * 5
    assert kept(site) == sorted(one for some in sent for one in some)
    receivers = {row[0] for row in rows(site, associations.c.receiver)}
    host = site.app.receiver
    assert receivers <= {host, f"{host}#2", f"{host}#3"}
    assert len(receivers) >= 2
    wait_until(lambda: all(row[0] for row in rows(site, associations.c.ended_at)))


def test_same_object_from_many_senders_is_stored_once(start: Start) -> None:
    """D-01: the same object from twenty senders over all processes is one row and one file."""
    site = start()
    port = site.listeners[0].port
    with ThreadPoolExecutor(20) as pool:
        sent = list(pool.map(lambda _: store(port, "one", range(1, 4)), range(20)))
    assert [len(some) for some in sent] == [3] * 20
    assert kept(site) == sorted(sent[0])
    files = [path for path in (site.app.files.root / "instances").rglob("*") if path.is_file()]
    assert len(files) == 3


def test_limits_hold_over_all_processes(start: Start) -> None:
    """Associations are limited over all processes together, and a freed place is free at once."""
    site = start(max_associations=4)
    port = site.listeners[0].port
    with ExitStack() as stack:
        answers = []
        for _ in range(12):
            peer = stack.enter_context(RawPeer(port))
            peer.send(associate_request(called="INTU_TEST"))
            answers.append(peer.read()[0])
        assert sorted(answers) == [ASSOCIATE_AC] * 4 + [ASSOCIATE_RJ] * 8
    wait_until(lambda: site.ledger is not None and site.ledger.taken() == 0)
    assert store(port, "later", range(1, 2))


def test_commitment_is_told_by_whichever_process_was_asked(start: Start) -> None:
    """A result comes on the association that asked, in whatever process that is."""
    site = start()
    requesters = [Requester(site.listeners[0].port) for _ in range(6)]
    (stored,) = requesters[0].store(1)
    for number, requester in enumerate(requesters):
        association = requester.associate()
        asked = requester.ask(association, f"1.2.3.{number}", (CTImageStorage, stored))
        assert asked == 0x0000
        wait_until(lambda one=requester: one.results)  # type: ignore[misc]
        association.release()
    assert [[kind for kind, _ in one.results] for one in requesters] == [[1]] * 6


def test_process_that_dies_is_started_again(start: Start) -> None:
    """Others go on; its associations are closed as lost, its places freed, its spool removed."""
    site = start(max_associations=40)
    port = site.listeners[0].port
    before = children(site)
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(port)) for _ in range(12)]
        for number, peer in enumerate(peers):
            peer.associate(called="INTU_TEST")
            data = data_set_bytes(make_instance("before", 1, number))
            assert status_of(peer.store(data, uid("before", 1, number))) == 0
            peer.send_command(store_command(uid("cut", 1, number)))
            peer.send_data(data[:50], last=False)
        incoming = site.app.files.root / "incoming"
        wait_until(lambda: len(list(incoming.iterdir())) == 12)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(children(site)) == 2 and not set(children(site)) & set(before))
        host = site.app.receiver
        columns = associations.c.receiver, associations.c.end_reason
        wait_until(lambda: all(end for name, end in rows(site, *columns) if name != host))
        assert {end for name, end in rows(site, *columns) if name != host} == {"lost"}
        mine = sum(name == host for name, _ in rows(site, *columns))
        assert len(list(incoming.iterdir())) == mine
        assert site.ledger is not None
        assert site.ledger.taken() == mine
    assert len(kept(site)) == 12
    assert store(port, "after", range(1, 3))


def test_second_site_does_not_share_the_port(start: Start, tmp_path: Path) -> None:
    """Another program on the same ports is told that they are taken, and touches nothing."""
    site = start()
    with RawPeer(site.listeners[0].port) as peer:
        peer.associate(called="INTU_TEST")
        assert status_of(peer.store(data_set_bytes(make_instance()), uid("study", 1, 1))) == 0
        other = Site(open_app(load_configuration(tmp_path)))
        words = (
            r"channel \S+ cannot listen on \S+ port \d+ \(Address already in use\); free the port"
        )
        with pytest.raises(ConfigurationError, match=words):
            other.start()
        assert rows(site, associations.c.ended_at) == [(None,)]
    assert children(site)
    other.stop()


def running(folder: Path, **options: Any) -> subprocess.Popen[str]:
    """Run ``receive`` in a process of its own."""
    command = [sys.executable, "-m", "intu_fhir.cli", "receive", "--config", str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def _children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in listed]


def _all_children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(one) for task in tasks for one in (task / "children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_first(
    number: int, tmp_path: Path, migrated_database_url: str
) -> None:
    """However the first process ends, the others end too; SIGTERM finishes the object in hand."""
    port = free_port()
    receiver = {"processes": 3, "shutdown_grace_seconds": 10}
    write_site(tmp_path, database=migrated_database_url, port=port, receiver=receiver)
    process = running(tmp_path)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if '"ready"' in line:
                break
        others = _all_children_of(process.pid)
        assert len(others) == 2
        data = data_set_bytes(make_instance())
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(port)) for _ in range(9)]
            for peer in peers:
                peer.associate(called="INTU_TEST")
                peer.send_command(store_command(uid("study", 1, 1)))
                peer.send_data(data[:50], last=False)
            incoming = tmp_path / "files" / "incoming"
            wait_until(lambda: len(list(incoming.iterdir())) == 9)
            process.send_signal(number)
            if number == signal.SIGTERM:
                for peer in peers:
                    peer.send_data(data[50:])
                    assert status_of(peer.response()) == 0
                process.communicate(timeout=30)
                assert process.returncode == 0
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in others))
    finally:
        process.kill()
        process.communicate()
    if number == signal.SIGTERM:
        database = Database(migrated_database_url)
        with database.read() as connection:
            found = connection.execute(sa.select(sa.func.count()).select_from(instances))
            assert found.scalar_one() == 1
        database.close()


def test_metrics_are_those_of_all_processes(start: Start) -> None:
    """Whichever process has stored an object, `/metrics` of the first one counts it."""
    site = start(processes=2)
    port = site.listeners[0].port
    before = _stored(site)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: store(port, f"counted {n}", range(1, 4)), range(16)))
    assert sum(map(len, sent)) == 48
    assert len({row[0] for row in rows(site, associations.c.receiver)}) == 2
    wait_until(lambda: _stored(site) - before == 48, 20, "the counts of both")
    [child] = children(site)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: children(site) not in ([], [child]), 20, "another process")
    assert _stored(site) - before == 48


def _stored(site: Site) -> float:
    """Return how many objects Prometheus sees stored."""
    labels = {"channel": "radiology", "as": "stored"}
    registry = site.app.others.registry()
    return registry.get_sample_value("intu_receive_objects_total", labels) or 0.0
