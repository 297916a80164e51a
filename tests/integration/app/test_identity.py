"""Identity of objects over the whole receiver, on both databases."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from tests.integration.app.conftest import StartWhole
from tests.support.clock import FakeClock
from tests.support.raw_peer import RawPeer, status_of, store_command
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.whole_receiver import WholeReceiver

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())
OTHERS = [data_set_bytes(make_instance(StudyDescription=f"version {n}")) for n in range(20)]


def digest(data: bytes) -> str:
    """Return the digest of a data set."""
    return sha256(data).hexdigest()


def store(whole: WholeReceiver, *objects: bytes, sop_instance_uid: str = UID) -> list[int]:
    """Store objects on one association and return the statuses."""
    with RawPeer(whole.port) as peer:
        peer.socket.settimeout(60)
        peer.associate()
        return [status_of(peer.store(one, sop_instance_uid)) for one in objects]


def test_same_object_from_twenty_senders_is_one(whole: WholeReceiver) -> None:
    """D-01: the same object a thousand times from twenty senders is one row and one file."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: store(whole, *[OBJECT] * 50), range(20)))
    assert Counter(status for some in answers for status in some) == {0x0000: 1_000}
    assert whole.staged() == {UID: digest(OBJECT)}
    assert whole.kept_files() == 1
    assert not whole.broken({UID: digest(OBJECT)})


def test_other_bytes_do_not_replace_the_first(whole: WholeReceiver) -> None:
    """D-02: A, A, A' and A again: the first stays readable, the other is kept in quarantine."""
    assert store(whole, OBJECT, OBJECT, OTHERS[0], OBJECT, OTHERS[0]) == [0, 0, 0xA900, 0, 0xA900]
    assert whole.staged() == {UID: digest(OBJECT)}
    assert whole.quarantined() == [digest(OTHERS[0])]
    assert whole.kept_files() == 2


def test_racing_versions_leave_one_first(whole: WholeReceiver) -> None:
    """D-02: of twenty versions sent at once one is stored, all others are kept in quarantine."""
    ready = threading.Barrier(len(OTHERS))

    def race(data: bytes) -> int:
        with RawPeer(whole.port) as peer:
            peer.socket.settimeout(60)
            peer.associate()
            ready.wait(30)
            return status_of(peer.store(data, UID))

    with ThreadPoolExecutor(len(OTHERS)) as pool:
        answers = list(pool.map(race, OTHERS))
    assert Counter(answers) == {0x0000: 1, 0xA900: len(OTHERS) - 1}
    first = OTHERS[answers.index(0)]
    assert whole.staged() == {UID: digest(first)}
    assert whole.quarantined() == sorted(digest(one) for one in OTHERS if one is not first)


def test_same_instance_in_another_study_is_kept_aside(whole: WholeReceiver) -> None:
    """D-02: one SOP Instance UID in two studies or series is never two rows."""
    elsewhere = data_set_bytes(make_instance(StudyInstanceUID=uid("other")))
    assert store(whole, OBJECT, elsewhere) == [0x0000, 0xA900]
    assert whole.staged() == {UID: digest(OBJECT)}


KEYWORDS = {
    "SOPInstanceUID": (0x0008, 0x0018),
    "SOPClassUID": (0x0008, 0x0016),
    "StudyInstanceUID": (0x0020, 0x000D),
    "SeriesInstanceUID": (0x0020, 0x000E),
}
BAD_UIDS = {
    "empty": b"",
    "65 characters": b"1." * 32 + b"1",
    "path": b"../../../../tmp/evil",
    "nul inside": b"1.2\x003",
    "two values": b"1.2.3\\1.2.4",
    "letters": b"1.2.abc",
    "double dot": b"1..2",
    "space inside": b"1. 2",
    "not ascii": b"1.2.\xc3\xa4",
    "newline": b"1.2.3\n",
}


def with_uid(keyword: str, value: bytes | None) -> bytes:
    """Return the object with one UID replaced, or without it."""
    group, element = KEYWORDS[keyword]
    head = struct.pack("<HH2s", group, element, b"UI")
    at = OBJECT.index(head)
    (length,) = struct.unpack_from("<H", OBJECT, at + 6)
    if value is None:
        return OBJECT[:at] + OBJECT[at + 8 + length :]
    value += b"\0" * (len(value) % 2)
    new = head + struct.pack("<H", len(value)) + value
    return OBJECT[:at] + new + OBJECT[at + 8 + length :]


@pytest.mark.parametrize("case", ["missing", *BAD_UIDS])
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_invalid_uid_in_the_data_set_is_refused(
    keyword: str, case: str, whole: WholeReceiver
) -> None:
    """D-05: a UID that is missing or none is answered 0117, never invented, and leaves nothing."""
    data = with_uid(keyword, BAD_UIDS.get(case))
    assert store(whole, data) == [0x0117]
    assert whole.kept_files() == 0
    assert whole.staged() == {}


def test_longest_uid_is_taken(whole: WholeReceiver) -> None:
    """D-05: a UID of 64 characters is one, in data set, row and file meta information."""
    longest = "1." + "2" * 62
    data = with_uid("SOPInstanceUID", longest.encode())
    assert store(whole, data, sop_instance_uid=longest) == [0x0000]
    assert whole.staged() == {longest: digest(data)}


@pytest.mark.parametrize("step", [3_600, -3_600, 86_400, -86_400])
def test_clock_step_disturbs_nothing(step: int, start_whole: StartWhole, clock: FakeClock) -> None:
    """N-09: the wall clock is set forth or back inside of transfers; all go on and are stored."""
    whole = start_whole(clock=clock)
    objects = {n: data_set_bytes(make_instance(number=n)) for n in range(1, 6)}
    with RawPeer(whole.port) as peer:
        peer.associate()
        for number, data in objects.items():
            peer.send_command(store_command(uid("study", 1, number)))
            peer.send_data(data[:100], last=False)
            clock.step_wall(step)
            peer.send_data(data[100:])
            assert status_of(peer.response()) == 0x0000
    acknowledged = {uid("study", 1, n): digest(data) for n, data in objects.items()}
    assert whole.staged() == acknowledged
    assert not whole.broken(acknowledged)
