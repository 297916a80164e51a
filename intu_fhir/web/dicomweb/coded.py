"""How many pixels a compressed frame has by its own word: what a decoder makes room for."""

from __future__ import annotations

_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of a frame that begin none (ISO/IEC 10918-1 Table B.1)."""

_JPEG_LS = 0xF7


def coded_pixels(frame: bytes) -> int:
    """Return the pixels of a JPEG, JPEG-LS or JPEG 2000 codestream; 0 = it does not say."""
    if frame.startswith(_JPEG_2000):
        return _jpeg_2000(frame)
    return _jpeg(frame) if frame.startswith(_JPEG) else 0


def _jpeg_2000(frame: bytes) -> int:
    """Read the marker segment SIZ (ISO/IEC 15444-1 A.5.1)."""
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4]) for at in range(8, 24, 4))
    return max(0, right - left) * max(0, bottom - top)


def _jpeg(frame: bytes) -> int:
    """Find the header of the frame (ISO/IEC 10918-1 B.2.2)."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # may stand before a marker
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == _JPEG_LS:
            return int.from_bytes(frame[at + 5 : at + 7]) * int.from_bytes(frame[at + 7 : at + 9])
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    return 0
