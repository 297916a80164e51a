"""Data sets that are damaged somewhere, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.errors import PermanentError
from intu_fhir.stage.header import read_header
from intu_fhir.stage.part10 import find_data_set
from tests.support.data import pydicom_files

_LARGEST = 16_000
_LONGEST_UID = 64
_LENGTHS = (0, 1, 2, 3, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True)
class Original:
    """A data set of a real file."""

    data_set: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True)
class Damaged:
    """A data set with a SOP Instance UID of its own, and what was done to it."""

    data_set: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    damage: str


def originals(folder: Path | None = None, most: int = 400) -> list[Original]:
    """Return small data sets of real files that are whole."""
    paths = pydicom_files() if folder is None else sorted(folder.rglob("*.dcm"))
    found = (_original(path) for path in paths if path.stat().st_size <= 2 * _LARGEST)
    return [one for one in found if one is not None][:most]


def _original(path: Path) -> Original | None:
    content = path.read_bytes()
    place = find_data_set(content[:4_096])
    if place is None or len(content) - place.offset > _LARGEST:
        return None
    data_set = content[place.offset :]
    try:
        header = read_header(data_set, place.transfer_syntax_uid)
    except PermanentError:
        return None
    uids = (header.sop_class_uid, header.sop_instance_uid, place.transfer_syntax_uid)
    return Original(data_set, *uids)


class Damages:
    """Makes damaged data sets of originals.

    Args:
        seed: what tells one run from another.
    """

    def __init__(self, sources: Sequence[Original], seed: int) -> None:
        self._sources, self._random = sources, random.Random(seed)

    def __iter__(self) -> Iterator[Damaged]:
        """Give damaged data sets without end; one of ten is whole."""
        while True:
            one = self._random.choice(self._sources)
            uid, data_set = self._renamed(one)
            data, done = bytearray(data_set), []
            for _ in range(self._random.choice((0, 1, 1, 1, 1, 1, 1, 2, 2, 4))):
                harm = self._random.choice(self._harms)
                harm(self, data)
                done.append(harm.__name__.strip("_"))
            what = " ".join(done) or "whole"
            yield Damaged(bytes(data), one.sop_class_uid, uid, one.transfer_syntax_uid, what)

    def _renamed(self, one: Original) -> tuple[str, bytes]:
        """Give the instance another UID of the same length, in all places."""
        old = one.sop_instance_uid.encode()
        if len(old) < 12 or one.data_set.count(old) == 0:
            return one.sop_instance_uid, one.data_set
        digits = str(self._random.randrange(10**9, 10**10)).encode()
        new = old[:-11] + b"." + digits if old[-12:-11] != b"." else old[:-11] + b"1" + digits
        return new.decode(), one.data_set.replace(old, new)

    def _where(self, data: bytearray) -> int:
        """Return a place, mostly among the attributes."""
        near = min(len(data), self._random.choice((200, 1_000, 4_000, len(data))))
        return self._random.randrange(near) if near else 0

    def _flip(self, data: bytearray) -> None:
        for _ in range(self._random.choice((1, 1, 2, 8))):
            if data:
                data[self._where(data)] = self._random.randrange(256)

    def _lie(self, data: bytearray) -> None:
        at, size = self._where(data), self._random.choice((2, 4))
        length = self._random.choice(_LENGTHS) % (1 << 8 * size)
        order = self._random.choice(("little", "little", "big"))
        data[at : at + size] = length.to_bytes(size, "little" if order == "little" else "big")

    def _cut(self, data: bytearray) -> None:
        del data[self._random.randrange(len(data) + 1) :]

    def _leave_out(self, data: bytearray) -> None:
        at = self._where(data)
        del data[at : at + self._random.choice((1, 2, 4, 8, 64))]

    def _put_in(self, data: bytearray) -> None:
        more = self._random.randbytes(self._random.choice((1, 2, 8, 64)))
        at = self._where(data)
        data[at:at] = more

    def _double(self, data: bytearray) -> None:
        at, size = self._where(data), self._random.choice((8, 16, 64, 256))
        data[at:at] = data[at : at + size]

    def _nest(self, data: bytearray) -> None:
        """Open sequences of undefined length that nobody closes."""
        opened = (
            bytes.fromhex("08001111") + b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        )
        at = self._where(data)
        data[at:at] = opened * self._random.choice((1, 10, 100))

    _harms: tuple[Callable[[Damages, bytearray], None], ...] = (
        _flip,
        _flip,
        _lie,
        _lie,
        _cut,
        _leave_out,
        _put_in,
        _double,
        _nest,
    )
