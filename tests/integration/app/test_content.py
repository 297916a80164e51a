"""Content that is cut, bombed, nested or odd, from the wire to the row, on both databases."""

from __future__ import annotations

import struct
import threading
import time
import tracemalloc
import zlib
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

from intu_fhir.db.tables import headers, instances
from intu_fhir.observe.metrics import RECEIVE_LIMITS
from intu_fhir.stage.turns import SHORT_ELEMENTS
from tests.integration.app.conftest import StartWhole
from tests.support import mutants
from tests.support.raw_peer import CT_IMAGE_STORAGE, RawPeer, status_of, store_command
from tests.support.studies import make_instance, uid
from tests.support.whole_receiver import WholeReceiver

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
UID = uid("study", 1, 1)
_PIECE = 16_000


class Sender:
    """An association for CT in one transfer syntax."""

    def __init__(self, whole: WholeReceiver, syntax: str = EXPLICIT) -> None:
        self._peer = RawPeer(whole.port)
        self._peer.socket.settimeout(60)
        self._peer.associate(((1, CT_IMAGE_STORAGE, (syntax,)),))

    def store(self, data: bytes, sop_instance_uid: str = UID) -> int:
        """Store a data set and return the status."""
        self._peer.send_command(store_command(sop_instance_uid), 1)
        for begin in range(0, len(data) or 1, _PIECE):
            piece = data[begin : begin + _PIECE]
            self._peer.send_data(piece, 1, last=begin + _PIECE >= len(data))
        return status_of(self._peer.response())

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.socket.close()


def encoded(dataset: Dataset, syntax: str) -> bytes:
    """Return a data set's bytes as a sender writes them."""
    out = BytesIO()
    dcmwrite(out, dataset, implicit_vr=syntax == IMPLICIT, little_endian=True)
    return out.getvalue()


def small(syntax: str) -> Dataset:
    """Return a small instance that suits a transfer syntax."""
    dataset = make_instance()
    if syntax == JPEG:
        dataset.PixelData = encapsulate([b"\xff\xd8" + bytes(20) + b"\xff\xd9", bytes(8)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    return dataset


def ends_of_elements(dataset: Dataset, syntax: str) -> set[int]:
    """Return where a data set may end without anyone being able to tell that it goes on."""
    tags = sorted(dataset.keys())
    prefixes = (Dataset({tag: dataset[tag] for tag in tags[:n]}) for n in range(len(tags) + 1))
    return {len(encoded(prefix, syntax)) for prefix in prefixes}


class Cuts:
    """A small instance cut at each of its bytes, each time under a UID of its own.

    Under one UID all that comes after the first one taken would be refused for that alone.
    """

    def __init__(self, syntax: str) -> None:
        self._syntax, self._dataset = syntax, small(syntax)
        self.ends, self.size = ends_of_elements(self._of(0), syntax), len(self.whole(0))

    def whole(self, number: int) -> bytes:
        """Return the bytes of the whole instance; always as many."""
        return encoded(self._of(number), self._syntax)

    def statuses(self, whole: WholeReceiver) -> dict[int, int]:
        """Return how each cut is answered."""
        with Sender(whole, self._syntax) as sender:
            return {
                cut: sender.store(self.whole(cut)[:cut], self._uid(cut)) for cut in range(self.size)
            }

    def _of(self, number: int) -> Dataset:
        self._dataset.SOPInstanceUID = self._uid(number)
        return self._dataset

    @staticmethod
    def _uid(number: int) -> str:
        return f"{UID}.{100_000 + number}"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, JPEG])
def test_every_cut_is_noticed(syntax: str, whole: WholeReceiver) -> None:
    """F-02: cut at any byte, a data set is refused, unless it ends just where an element does."""
    cuts = Cuts(syntax)
    statuses = cuts.statuses(whole)
    assert cuts.size in cuts.ends
    taken = {cut for cut, status in statuses.items() if status == 0x0000}
    assert taken <= cuts.ends
    assert {statuses[cut] for cut in statuses.keys() - cuts.ends} == {0xC000}
    assert {statuses[cut] for cut in cuts.ends - taken - {cuts.size}} == {0x0117}  # no UID yet
    assert len(whole.staged()) == len(taken)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, JPEG])
def test_a_receiver_that_takes_cut_pixels_is_seen(syntax: str, whole: WholeReceiver) -> None:
    """F-02: the same cuts find a receiver that minds no end inside pixel data."""
    with mutants.take_cut_pixels():
        cuts = Cuts(syntax)
        taken = [cut for cut, status in cuts.statuses(whole).items() if status == 0x0000]
    assert not cuts.ends.issuperset(taken)


def test_every_cut_of_a_deflated_data_set_is_noticed(whole: WholeReceiver) -> None:
    """F-02: a deflated data set that is cut at any byte is refused."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflater.compress(encoded(small(DEFLATED), EXPLICIT)) + deflater.flush()
    with Sender(whole, DEFLATED) as sender:
        assert [cut for cut in range(len(data)) if sender.store(data[:cut]) == 0x0000] == []
        assert sender.store(data) == 0x0000
    assert list(whole.staged()) == [UID]


@pytest.mark.parametrize("tag", [0x00000002, 0x00020010])
def test_what_would_make_another_file_of_it_is_refused(tag: int, whole: WholeReceiver) -> None:
    """Group 0000 or 0002 before a data set is answered C000: its file would be read as another."""
    stray = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", 22) + DEFLATED.encode()
    with Sender(whole) as sender:
        assert sender.store(stray + encoded(small(EXPLICIT), EXPLICIT)) == 0xC000
        assert sender.store(encoded(small(EXPLICIT), EXPLICIT)) == 0x0000
    assert whole.kept_files() == 1


LIES = (1, 2, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE)


@pytest.mark.parametrize("length", LIES)
def test_lengths_that_lie_are_noticed(length: int, whole: WholeReceiver) -> None:
    """F-02: any element with a length that does not fit is refused."""
    data = encoded(small(IMPLICIT), IMPLICIT)
    at, taken = 0, []
    with Sender(whole, IMPLICIT) as sender:
        while at < len(data):
            (real,) = struct.unpack_from("<I", data, at + 4)
            if real != length:
                spoilt = data[: at + 4] + struct.pack("<I", length) + data[at + 8 :]
                taken += [at] if sender.store(spoilt) == 0x0000 else []
            at += 8 + real
    assert taken == []
    assert whole.staged() == {}


def test_bomb_is_refused_early(start_whole: StartWhole) -> None:
    """F-03: a deflated data set that grows a thousandfold is refused at its limit."""
    whole = start_whole(max_inflated_bytes=4_000_000)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    begin = encoded(make_instance(), EXPLICIT)
    bomb = deflater.compress(begin + struct.pack("<HH2sHI", 0x7FE1, 0x10, b"OB", 0, 1 << 30))
    bomb += b"".join(deflater.compress(bytes(1 << 20)) for _ in range(300)) + deflater.flush()
    assert len(bomb) < 320_000
    counted = RECEIVE_LIMITS.labels("test", "max_inflated_bytes")
    before = counted._value.get()
    tracemalloc.start()
    with Sender(whole, DEFLATED) as sender:
        assert sender.store(bomb) == 0xC000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20
    assert counted._value.get() == before + 1
    assert whole.kept_files() == 0


def test_many_bombs_at_once_cost_little(start_whole: StartWhole) -> None:
    """F-03: honest deflated objects of 40 MB on ten associations at once are all taken in."""
    whole = start_whole()
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    begin = encoded(make_instance(), EXPLICIT)
    data = deflater.compress(begin + struct.pack("<HH2sHI", 0x7FE1, 0x10, b"OB", 0, 40 << 20))
    data += b"".join(deflater.compress(bytes(1 << 20)) for _ in range(40)) + deflater.flush()
    answers: list[int] = []

    def send() -> None:
        with Sender(whole, DEFLATED) as sender:
            answers.append(sender.store(data))

    tracemalloc.start()
    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(answers) == {0x0000}
    assert peak < 40 << 20


def test_deflated_objects_take_turns(start_whole: StartWhole) -> None:
    """F-03: while as many are read as ``max_inflating`` allows, another one is answered A700."""
    whole = start_whole(max_inflating=1)
    counted = RECEIVE_LIMITS.labels("test", "max_inflating")
    before = counted._value.get()
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflater.compress(encoded(small(DEFLATED), EXPLICIT)) + deflater.flush()
    with Sender(whole, DEFLATED) as sender, Sender(whole) as plain:
        with whole.turns.turn():
            assert sender.store(data) == 0xA700
            assert plain.store(encoded(small(EXPLICIT), EXPLICIT)) == 0x0000
        assert counted._value.get() == before + 1
        assert sender.store(data) == 0xA900  # it has the UID of the plain one, and other bytes


def test_objects_of_many_elements_take_turns(start_whole: StartWhole) -> None:
    """A data set full of empty items waits for its turn as a deflated one does; others do not."""
    whole = start_whole(max_inflating=1)
    empty = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (SHORT_ELEMENTS + 1)
    items = struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, len(empty)) + empty
    with Sender(whole) as long, Sender(whole) as plain:
        with whole.turns.turn():
            assert long.store(items + encoded(small(EXPLICIT), EXPLICIT)) == 0xA700
            assert plain.store(encoded(small(EXPLICIT), EXPLICIT)) == 0x0000
        # It has the UID of the plain one, and other bytes.
        assert long.store(items + encoded(small(EXPLICIT), EXPLICIT)) == 0xA900


def test_fragment_of_four_gigabytes_is_refused(whole: WholeReceiver) -> None:
    """F-03: a fragment that claims more than there is makes the data set unreadable."""
    whole_set = encoded(small(JPEG), JPEG)
    at = whole_set.rindex(b"\xfe\xff\x00\xe0")
    for claim in (0xFFFFFFFE, 0x7FFFFFFF, 1 << 20):
        spoilt = whole_set[: at + 4] + struct.pack("<I", claim) + whole_set[at + 8 :]
        with Sender(whole, JPEG) as sender:
            assert sender.store(spoilt) == 0xC000


def test_claimed_pixels_cost_nothing(whole: WholeReceiver) -> None:
    """F-03: rows, columns and frames that multiply to exabytes are only numbers."""
    dataset = make_instance(Rows=65_535, Columns=65_535, NumberOfFrames="2147483647")
    with Sender(whole) as sender:
        assert sender.store(encoded(dataset, EXPLICIT)) == 0x0000
    assert whole.describer.describe_some() == 1


def nested(depth: int, *, defined: bool) -> bytes:
    """Return a private element that holds sequences within sequences."""
    if not defined:
        head = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        tail = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
        return head * depth + tail * depth
    parts, length = [], 0
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", length)
        parts.append(b"\x09\x00\x10\x10SQ\0\0" + struct.pack("<I", length + 8) + item)
        length += 20
    return b"".join(reversed(parts))


@pytest.mark.timed
@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize(
    ("depth", "status"),
    [(10, 0x0000), (64, 0x0000), (65, 0xC000), (1_000, 0xC000), (100_000, 0xC000)],
)
def test_nesting_is_limited(depth: int, status: int, defined: bool, whole: WholeReceiver) -> None:
    """F-04: sequences nested deeper than the limit are refused at once, however written."""
    data = encoded(make_instance(), EXPLICIT)
    at = data.index(b"\x10\x00\x10\x00PN")
    with Sender(whole) as sender:
        begun = time.monotonic()
        assert sender.store(data[:at] + nested(depth, defined=defined) + data[at:]) == status
        assert time.monotonic() - begun < 2.0
    if status == 0x0000:
        assert whole.describer.describe_some() == 1


def test_nesting_has_a_setting(start_whole: StartWhole) -> None:
    """F-04: ``max_nesting`` and ``max_elements`` reach both readers of a header."""
    whole = start_whole(max_nesting=2, max_elements=1_000)
    data = encoded(make_instance(), EXPLICIT)
    at = data.index(b"\x10\x00\x10\x00PN")
    many = b"\x09\x00\x10\x10SH\x00\x00" * 1_000
    with Sender(whole) as sender:
        assert sender.store(data[:at] + nested(2, defined=True) + data[at:]) == 0x0000
        assert sender.store(data[:at] + nested(3, defined=True) + data[at:]) == 0xC000
        assert sender.store(data[:at] + many + data[at:]) == 0xC000
    assert (whole.describer.limits.max_nesting, whole.describer.limits.max_elements) == (2, 1_000)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["elements", "items"])
def test_a_million_elements_are_read_in_seconds(kind: str, whole: WholeReceiver) -> None:
    """F-04: a data set of a million elements, or of a million items, stops nobody."""
    data = encoded(make_instance(), EXPLICIT)
    at = data.index(b"\x10\x00\x10\x00PN")
    if kind == "elements":
        more = b"".join(struct.pack("<HH2sH", 9, 0x1000, b"SH", 0) for _ in range(1_000_000))
    else:
        items = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000
        more = b"\x09\x00\x10\x10SQ\0\0" + struct.pack("<I", len(items)) + items
    with Sender(whole) as sender:
        begun = time.process_time()  # whatever else the machine does
        assert sender.store(data[:at] + more + data[at:]) == 0x0000
        assert time.process_time() - begun < 20
    assert len(whole.staged()) == 1


ODD: dict[str, dict[str, Any]] = {
    "latin 1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "J\xe4ger^J\xf6rg"},
    "code extensions": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎",
    },
    "emoji and bidi": {"PatientName": "Sam\u202e^\U0001f600", "StudyDescription": "\u200f\u0000x"},
    "name of 64 K": {"PatientName": "N" * 65_000},
    "very many values": {"ImageType": ["A"] * 30_000},
    "no characters at all": {"PatientName": "", "StudyDescription": "", "Modality": ""},
    "control characters": {"StudyDescription": "a\tb\r\nc\x1b[31m\x07", "PatientID": "1\x002"},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ODD)
def test_odd_text_stays_as_it_is(case: str, whole: WholeReceiver) -> None:
    """F-05: whatever text comes, the bytes stay as they are and the rows are made."""
    assert_round_trip(whole, encoded(make_instance(**ODD[case]), EXPLICIT))


RAW = {
    "invalid utf-8": b"\xff\xfe\x80Sam^\xc3",
    "nul inside": b"Sam\0\0^X\0",
    "ten megabytes": b"N" * 10_000_000,
    "lone surrogate": b"\xed\xa0\x80",
    "escape that ends nowhere": b"Sam^\x1b$",
}


@pytest.mark.parametrize("case", RAW)
@pytest.mark.parametrize("charset", [b"", b"ISO_IR 192", b"ISO 2022 IR 87", b"nobody knows it "])
def test_invalid_text_stays_as_it_is(case: str, charset: bytes, whole: WholeReceiver) -> None:
    """F-05: bytes that are no text in any character set are kept, and staged without harm."""
    name = RAW[case] + b" " * (len(RAW[case]) % 2)
    long = struct.pack("<HH2sHI", 0x10, 0x10, b"UT", 0, len(name)) + name
    data = encoded(make_instance(PatientName=None, SpecificCharacterSet=None), EXPLICIT)
    at = data.index(b"\x10\x00\x20\x00LO")
    data = data[:at] + long + data[at:]
    padded = charset + b" " * (len(charset) % 2)
    first = struct.pack("<HH2sH", 0x08, 0x05, b"CS", len(padded)) + padded
    assert_round_trip(whole, first * bool(charset) + data)


def assert_round_trip(whole: WholeReceiver, data: bytes) -> None:
    """What is sent is what is kept; header and row are there."""
    with Sender(whole) as sender:
        assert sender.store(data) == 0x0000
    assert whole.staged() == {UID: sha256(data).hexdigest()}
    assert whole.describer.describe_some() == 1
    with whole.database.read() as connection:
        described = sa.select(sa.func.count()).select_from(instances).join(headers)
        assert connection.execute(described).scalar_one() == 1
