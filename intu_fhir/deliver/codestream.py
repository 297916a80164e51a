"""What a compressed frame says of itself: JPEG, JPEG-LS and JPEG 2000, without decoding.

ITU-T T.81 annex B (JPEG), T.87 annex C (JPEG-LS), T.800 annex A (JPEG 2000).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_BARE = frozenset(range(0xD0, 0xD9)) | {0x01, 0xFF}
"""Second bytes of markers without a segment, and the fill byte."""
_J2K = b"\xff\x4f\xff\x51"
_SIZ_FIXED = struct.Struct(">HHIIIIIIIIH")
_COD, _SOT = 0xFF52, 0xFF90
_JP2_HEAD = 4096
"""Where a codestream has to begin at the latest: some stand in a JP2 file, against PS3.5 A.4.4."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """Rows, columns, samples and bits of a compressed frame.

    Args:
        rows: 0 = it says so at its end only (DNL of T.81).
        rgb: its decoder gives RGB, whatever the header says (T.800 annex G).
    """

    rows: int
    columns: int
    samples: int
    precision: int
    rgb: bool = False


def read_codestream(frame: bytes) -> Codestream | None:
    """Return what a frame says of itself; None where it is none of these, or broken."""
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
        begin = frame.find(_J2K, 0, _JP2_HEAD)
        return _j2k(frame, begin) if begin >= 0 else None
    except (IndexError, struct.error):
        return None


def _jpeg(frame: bytes) -> Codestream | None:
    at = 2
    while frame[at] == 0xFF:
        kind = frame[at + 1]
        if kind in _START_OF_FRAME:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return Codestream(rows, columns, samples, precision)
        if kind in _BARE:
            at += 1 if kind == 0xFF else 2
        else:
            at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None


def _j2k(frame: bytes, begin: int) -> Codestream:
    at = begin + 4
    _, _, x, y, x0, y0, *_, samples = _SIZ_FIXED.unpack_from(frame, at)
    precision = (frame[at + _SIZ_FIXED.size] & 0x7F) + 1
    transformed = samples == 3 and _has_component_transform(frame, begin + 2)
    return Codestream(y - y0, x - x0, samples, precision, transformed)


def _has_component_transform(frame: bytes, at: int) -> bool:
    """Say whether the first three components were transformed from RGB (T.800 A.6.1)."""
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == _SOT:
            return False
        if marker == _COD:
            return frame[at + 8] == 1
        at += 2 + length
