"""Finds the data set in a file: DICOM files (PS3.10 7.1), and those that lack parts of one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from intu_fhir.stage.dictionary import keyword_of
from intu_fhir.stage.elements import KNOWN_VRS, LONG_VRS
from intu_fhir.stage.encodings import (
    DEFLATED_SYNTAXES,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
)

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR (PS3.10 8.6)."""

HEAD_BYTES = 65_536
"""How much of a file ``find_data_set`` wants to see."""

MAX_META_BYTES = 4 * 1024**2
"""How much it wants to see of the few files whose meta information is longer than that."""

_PREFIX = b"DICM"
_FIRST_GROUPS = range(0x0004, 0x0011)
_MAX_FIRST_LENGTH = 16_384


@dataclass(frozen=True, slots=True)
class DataSetPlace:
    """Where the data set of a file starts, and what its meta information says of it.

    Args:
        offset: bytes before the data set.
        transfer_syntax_uid: as stated; where nothing is stated, as the bytes look.
        sop_class_uid: as stated in the meta information, or ``""``.
        sop_instance_uid: as stated in the meta information, or ``""``.
    """

    offset: int
    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""

    def is_of(
        self, offset: int | None, sop_instance_uid: str, transfer_syntax_uid: str | None
    ) -> bool:
        """Say whether what stands before the data set says what was received (PS3.10 7.1)."""
        same = (self.offset, self.transfer_syntax_uid) == (offset, transfer_syntax_uid)
        return same and self.sop_instance_uid in {"", sop_instance_uid}

    @property
    def is_media_directory(self) -> bool:
        """Say whether the file is a DICOMDIR."""
        return self.sop_class_uid == MEDIA_STORAGE_DIRECTORY


def with_head(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return what ``find_data_set`` wants to see of a file, however short its first blocks are.

    Returns:
        The head, and all blocks, those of the head among them.
    """
    head = b""
    for block in blocks:
        head += block
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES], chain((head,), blocks)


def find_data_set(head: bytes) -> DataSetPlace | None:
    """Return where the data set starts in a file with this beginning, or ``None`` if nowhere.

    Takes files with preamble and meta information, with meta information alone, and with a
    bare data set in implicit, explicit or big endian form.
    """
    if has_preamble(head):
        return _after_meta(head, 132)
    if head[:2] == b"\2\0" and head[4:6] in KNOWN_VRS:
        return _after_meta(head, 0)
    syntax = _look(head)
    return DataSetPlace(0, syntax) if syntax else None


def has_preamble(head: bytes) -> bool:
    """Say whether a file begins as PS3.10 7.1 wants it: 128 bytes, then ``DICM``."""
    return head[128:132] == _PREFIX


def _after_meta(head: bytes, start: int) -> DataSetPlace | None:
    """Read meta information up to its last element; its group length is often wrong.

    Only what is deflated can look like meta information by chance: there the length counts.
    """
    found: dict[int, bytes] = {}
    pos, announced_end, stated = start, -1, ""
    try:
        while head[pos : pos + 2] == b"\2\0":
            if pos == announced_end and stated in DEFLATED_SYNTAXES:
                break
            element, value, pos = _meta_element(head, pos)
            found[element] = value
            stated = _uid(found.get(0x10))
            if element == 0 and len(value) == 4:
                announced_end = pos + struct.unpack("<I", value)[0]
    except struct.error:
        return None
    if not found:
        syntax = _look(head[start:]) if start else ""  # a preamble, and nothing else of a head
        return DataSetPlace(start, syntax) if syntax else None
    # PS3.5 10.1: implicit little endian is what everything falls back to.
    syntax = stated or _look(head[pos:]) or IMPLICIT_LITTLE_ENDIAN
    return DataSetPlace(pos, syntax, _uid(found.get(0x02)), _uid(found.get(0x03)))


def _meta_element(head: bytes, pos: int) -> tuple[int, bytes, int]:
    """Return element number, value and end of one element of group 2."""
    _, element, vr, length = struct.unpack_from("<HH2sH", head, pos)
    offset = pos + 8
    if vr in LONG_VRS:
        (length,) = struct.unpack_from("<I", head, offset)
        offset += 4
    elif vr not in KNOWN_VRS:
        (length,) = struct.unpack_from("<I", head, pos + 4)
    end = offset + length
    if end > len(head):
        raise struct.error("beyond the head")
    return element, head[offset:end], end


def _uid(value: bytes | None) -> str:
    return (value or b"").strip(b" \0").decode("ascii", "replace")[:64]


def _look(head: bytes) -> str:
    """Return the transfer syntax that the first element of a data set looks like, or ``""``."""
    if len(head) < 8:
        return ""
    for order, explicit in (("<", EXPLICIT_LITTLE_ENDIAN), (">", EXPLICIT_BIG_ENDIAN)):
        group, element, length = struct.unpack_from(order + "HHI", head, 0)
        known = element == 0 or keyword_of(group << 16 | element)
        if group not in _FIRST_GROUPS or not known:
            continue
        if head[4:6] in KNOWN_VRS:
            return explicit
        if order == "<" and length < _MAX_FIRST_LENGTH:
            return IMPLICIT_LITTLE_ENDIAN
    return ""
