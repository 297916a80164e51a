"""What an object is answered with: every row of the table over the wire, and back-pressure."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from intu_fhir.errors import (
    Busy,
    IdentityMismatch,
    InvalidDataSet,
    InvalidUid,
    LimitPassed,
    StaleClaim,
    StoreUnavailable,
)
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.instance import Accepted, Disposition, ReceivedObject
from intu_fhir.observe.metrics import RECEIVE_REFUSALS
from intu_fhir.receive.space import FreeSpace
from intu_fhir.receive.statuses import DISPOSITIONS, ERRORS
from tests.integration.receive.conftest import StartReceiving
from tests.support.clock import FakeClock
from tests.support.raw_peer import (
    VERIFICATION_ID,
    RawPeer,
    associate_request,
    command,
    element,
    item,
    status_of,
    store_command,
    us,
)
from tests.support.receiving import Receiving, Recorder, limits
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.waiting import wait_until

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())
CANARY = "CANARY^PATIENT"

RAISED = {
    StoreUnavailable: 0xA700,
    StaleClaim: 0xA700,
    IdentityMismatch: 0xA900,
    InvalidUid: 0x0117,
    InvalidDataSet: 0xC000,
    LimitPassed: 0xC000,
    Busy: 0xA700,
    ValueError: 0x0110,
    RecursionError: 0x0110,
    KeyError: 0x0110,
}


def raising(error: type[Exception]) -> Recorder:
    """Return a recorder whose ``accept`` fails so."""

    def decide(received: ReceivedObject, data: bytes) -> Accepted:
        if issubclass(error, LimitPassed | Busy):
            raise error("too much", "max_elements")
        raise error(CANARY) if error.__module__ == "builtins" else error("disk is full")

    return Recorder(decide)


def returning(disposition: Disposition) -> Recorder:
    """Return a recorder whose ``accept`` decides so."""
    return Recorder(lambda received, _: Accepted(disposition, received.sop_instance_uid))


@pytest.mark.parametrize("error", RAISED)
def test_error_becomes_its_status(error: type[Exception], start_receiving: StartReceiving) -> None:
    """An object that cannot be accepted is answered by the table, removed and counted."""
    receiving = start_receiving(recorder=raising(error))
    with structlog.testing.capture_logs() as logs, RawPeer(receiving.port) as peer:
        peer.associate()
        answer = peer.store(OBJECT, UID)
        assert status_of(peer.echo()) == 0x0000
        peer.release()
        receiving.recorder.wait_for_ends()
    assert status_of(answer) == RAISED[error]
    assert 0 < len(answer[0x0902]) <= 64
    assert receiving.spooled() == []
    assert receiving.recorder.ends[0][2] == {Disposition.REFUSED: 1}
    assert [entry["status"] for entry in logs if entry["event"] == "object_refused"] == [
        f"{RAISED[error]:04X}"
    ]
    assert CANARY not in str(logs)


def test_table_has_a_row_for_every_error() -> None:
    """Each error of the table is raised by a test above."""
    named = {row.error for row in ERRORS} - {Exception}
    assert all(any(issubclass(error, row) for error in RAISED) for row in named)


@pytest.mark.parametrize("disposition", Disposition)
def test_disposition_becomes_its_status(
    disposition: Disposition, start_receiving: StartReceiving
) -> None:
    """What staging decided is answered by the table and counted under its name."""
    receiving = start_receiving(recorder=returning(disposition))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        assert status_of(peer.store(OBJECT, UID)) == DISPOSITIONS[disposition].status
        peer.release()
    receiving.recorder.wait_for_ends()
    assert receiving.recorder.ends[0][2] == {disposition: 1}


def test_success_comes_after_accept_returned(start_receiving: StartReceiving) -> None:
    """Nothing is answered while an object is not durable yet."""
    durable = threading.Event()

    def decide(received: ReceivedObject, data: bytes) -> Accepted:
        assert durable.wait(10)
        return Accepted(Disposition.STORED, received.sop_instance_uid)

    receiving = start_receiving(recorder=Recorder(decide))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        peer.send_data(OBJECT)
        receiving.recorder.wait_for_objects()
        peer.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.socket.recv(1)
        durable.set()
        peer.socket.settimeout(10)
        assert status_of(peer.response()) == 0x0000


class SmallDisk(LocalFileStore):
    """A real store on a disk whose free space a test sets."""

    free = 10_000_000
    fails = False

    def free_bytes(self) -> int:
        """Return what the test says."""
        if self.fails:
            raise StoreUnavailable("the disk does not answer")
        return self.free


def test_low_disk_refuses_objects_and_recovers(
    start_receiving: StartReceiving, clock: FakeClock, tmp_path: Path
) -> None:
    """Below ``min_free_bytes`` objects are answered A700, echoes go on, space ends it."""
    disk = SmallDisk(tmp_path / "disk")
    receiving = start_receiving(
        files=disk, clock=clock, receiver=limits(min_free_bytes=5_000_000, idle_seconds=100)
    )
    with RawPeer(receiving.port) as peer:
        peer.associate()
        assert status_of(peer.store(OBJECT, UID)) == 0x0000
        for disk.free, disk.fails in ((4_999_999, False), (10_000_000, True)):
            clock.advance(1.1)
            assert status_of(peer.store(OBJECT, UID)) == 0xA700
            assert status_of(peer.echo()) == 0x0000
            disk.free, disk.fails = 10_000_000, False
            clock.advance(1.1)
            assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_disk_that_runs_low_within_an_object(
    start_receiving: StartReceiving, clock: FakeClock, tmp_path: Path
) -> None:
    """A large object is given up with A700 when the disk runs low while it comes."""
    disk = SmallDisk(tmp_path / "disk")
    receiving = start_receiving(
        files=disk, clock=clock, receiver=limits(min_free_bytes=5_000_000, idle_seconds=100)
    )
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        peer.send_data(bytes(16_000), last=False)
        wait_until(lambda: list((tmp_path / "disk" / "incoming").iterdir()) != [])
        disk.free = 4_999_999
        clock.advance(1.1)
        for _ in range(1_100):
            peer.send_data(bytes(16_000), last=False)
        peer.send_data(b"")
        assert status_of(peer.response()) == 0xA700
    assert list((tmp_path / "disk" / "incoming").iterdir()) == []


class FilledDisk(LocalFileStore):
    """A real store on a disk of 22 MB that holds nothing else.

    Attributes:
        told: what each was told who asked for its space, the listener among them.
    """

    size = 22_000_000

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.told: list[int] = []

    def free_bytes(self) -> int:
        """Return what its files leave."""
        used = 0
        for path in (self.root / "incoming").iterdir():
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                used += path.stat().st_size
        self.told.append(self.size - used)
        return self.size - used


def test_many_objects_at_once_leave_what_is_to_stay_free(
    start_receiving: StartReceiving, clock: FakeClock, tmp_path: Path
) -> None:
    """However many objects come at once, ``min_free_bytes`` stay free; then one is taken."""
    disk = FilledDisk(tmp_path / "disk")
    floor = 12_000_000
    receiving = start_receiving(
        files=disk,
        clock=clock,
        receiver=limits(min_free_bytes=floor, idle_seconds=100, max_pdu_bytes=131_072),
    )
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(receiving.port)) for _ in range(6)]
        for peer in peers:
            peer.associate()
            peer.send_command(store_command(UID))
        for _ in range(80):  # more of each than there is for all: none can be stored
            for peer in peers:
                peer.send_data(bytes(130_000), last=False)
            disk.free_bytes()
        for peer in peers:
            peer.send_data(b"")
        disk.free_bytes()
        assert {status_of(peer.response()) for peer in peers} == {0xA700}
        clock.advance(1.1)
        assert status_of(peers[0].store(bytes(120_000), UID)) == 0x0000
    # When the first was refused, six had a promise of 1 MB each, and the next would not have fit.
    assert floor <= min(disk.told) < floor + 8_000_000


def test_what_was_promised_comes_back(
    start_receiving: StartReceiving, clock: FakeClock, tmp_path: Path
) -> None:
    """Objects that end, are refused or break off keep nothing of the space promised to them."""
    disk = SmallDisk(tmp_path / "disk")  # five promises are all that can be given
    receiving = start_receiving(
        files=disk, clock=clock, receiver=limits(min_free_bytes=4_500_000, idle_seconds=100)
    )
    for ended in range(8):
        with RawPeer(receiving.port) as peer:
            peer.associate()
            assert status_of(peer.store(OBJECT, UID)) == 0x0000
            peer.send_command(store_command(UID))
            peer.send_data(OBJECT[:50], last=False)
        receiving.recorder.wait_for_ends(ended + 1)


def test_the_place_without_space_is_named(
    start_receiving: StartReceiving, clock: FakeClock
) -> None:
    """An object is refused for the disk of the files or of the database, and the log says which."""
    space = {"files": 1 << 40, "database": 1 << 40}
    places = {name: lambda name=name: space[name] for name in space}
    receiving = start_receiving(
        free_space=FreeSpace(places, 1 << 30, clock),
        clock=clock,
        receiver=limits(idle_seconds=100),
    )
    with structlog.testing.capture_logs() as logs, RawPeer(receiving.port) as peer:
        peer.associate()
        for full in space:
            space[full] = 1 << 20
            clock.advance(1.1)
            assert status_of(peer.store(OBJECT, UID)) == 0xA700
            assert logs[-1]["detail"] == f"less than min_free_bytes left for: {full}"
            space[full] = 1 << 40
            clock.advance(1.1)
            assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_a_store_that_is_gone_is_not_low_on_space(
    start_receiving: StartReceiving, clock: FakeClock, tmp_path: Path
) -> None:
    """Where the folder of the files is gone the answer and the log say so, not `low on space`."""
    receiving = start_receiving(
        files=LocalFileStore(tmp_path / "disk"),
        clock=clock,
        receiver=limits(min_free_bytes=1, idle_seconds=100),
    )
    (tmp_path / "disk").rename(tmp_path / "disk.gone")
    with structlog.testing.capture_logs() as logs, RawPeer(receiving.port) as peer:
        peer.associate()
        assert status_of(peer.store(OBJECT, UID)) == 0xA700
        assert logs[-1]["answer"] == "Store is not available; send again later"
        assert logs[-1]["detail"] == (
            f"The file store {tmp_path / 'disk'} is not there (No such file or directory); "
            "mount its disk"
        )
        (tmp_path / "disk.gone").rename(tmp_path / "disk")
        clock.advance(1.1)
        assert status_of(peer.store(OBJECT, UID)) == 0x0000


def test_full_disk_in_the_middle_of_an_object(
    start_receiving: StartReceiving, tmp_path: Path
) -> None:
    """A write that fails drops the object, reads it to its end and answers A700."""
    folder = tmp_path / "gone"
    receiving = start_receiving(files=LocalFileStore(folder))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        for kept in (folder / "incoming").iterdir():
            kept.unlink()
        (folder / "incoming").rmdir()
        assert status_of(peer.store(OBJECT, UID)) == 0xA700
        (folder / "incoming").mkdir()
        assert status_of(peer.store(OBJECT, UID)) == 0x0000


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    """What is logged while the test runs."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def test_peer_text_cannot_forge_log_lines(
    logs: list[dict[str, object]], receiving: Receiving
) -> None:
    """Control characters of AE titles are escaped, and a passcode is nowhere."""
    identity = item(0x58, bytes((2, 1)) + b"\0\4user\0\6secret")
    forged = associate_request(called="A\nB\x1b[31m", calling="C\r\nD", user_items=identity)
    with RawPeer(receiving.port) as peer:
        peer.send(forged)
        assert peer.read()[0] == 3
    with RawPeer(receiving.port) as peer:
        peer.associate(user_items=identity + item(0x55, b"V\n\x00\xff"))
        peer.release()
    receiving.recorder.wait_for_ends()
    receiving.listener.stop(grace_seconds=1)
    text = "".join(str(value) for entry in logs for value in entry.values())
    assert text.isprintable()
    assert "A\\nB" in text
    assert "secret" not in text
    origin = receiving.recorder.ends[0][0]
    assert origin.peer_implementation.isprintable()


def test_application_that_fails_at_the_end_does_not_disturb(
    logs: list[dict[str, object]], start_receiving: StartReceiving
) -> None:
    """An ``association_ended`` that raises is logged by type, and the next peer is served."""

    class Failing(Recorder):
        def association_ended(self, *args: object) -> None:
            super().association_ended(*args)  # type: ignore[arg-type]
            raise RuntimeError(CANARY)

    receiving = start_receiving(recorder=Failing())
    for count in (1, 2):
        with RawPeer(receiving.port) as peer:
            peer.associate()
            peer.release()
        receiving.recorder.wait_for_ends(count)
    receiving.listener.stop(grace_seconds=1)
    assert "association_end_not_recorded" in {entry["event"] for entry in logs}
    assert CANARY not in str(logs)


def test_echo_with_a_data_set_is_refused(receiving: Receiving) -> None:
    """C-ECHO has none: one that announces it is answered 0212 once it came, and all goes on."""
    with RawPeer(receiving.port) as peer:
        peer.associate()
        announced = command(
            element(0x0002, b"1.2.840.10008.1.1"),
            us(0x0100, 0x0030),
            us(0x0110, 3),
            us(0x0800, 1),
        )
        peer.send_command(announced, VERIFICATION_ID)
        counted = RECEIVE_REFUSALS.labels("test", "0212")
        before = counted._value.get()
        with structlog.testing.capture_logs() as logs:
            peer.send_data(b"any", VERIFICATION_ID)
            assert status_of(peer.response()) == 0x0212
        assert counted._value.get() == before + 1
        assert [entry["status"] for entry in logs if entry["event"] == "request_refused"] == [
            "0212"
        ]
        assert status_of(peer.echo()) == 0x0000
