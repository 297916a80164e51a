"""The head of a DICOM file: preamble, prefix and file meta information (PS3.10 7.1)."""

from __future__ import annotations

import struct

IMPLEMENTATION_CLASS_UID = "2.25.301486734025829367213946310541977143513"
IMPLEMENTATION_VERSION_NAME = "INTU_FHIR"
PREFIX = b"\0" * 128 + b"DICM"

_LONG_VRS = frozenset({b"OB"})


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    """Encode one group 2 element in Explicit VR Little Endian, padded to even length."""
    if len(value) % 2:
        value += b"\0" if vr in {b"UI", b"OB"} else b" "
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHI", 2, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def part10_head(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    *,
    calling_ae_title: str = "",
    called_ae_title: str = "",
) -> bytes:
    """Return everything of a DICOM file that stands before its data set (PS3.10 7.1).

    The AE titles go to Sending (0002,0017) and Receiving (0002,0018) Application Entity Title.
    """
    elements = [
        _element(0x0001, b"OB", b"\0\1"),
        _element(0x0002, b"UI", sop_class_uid.encode("ascii", "replace")),
        _element(0x0003, b"UI", sop_instance_uid.encode("ascii", "replace")),
        _element(0x0010, b"UI", transfer_syntax_uid.encode("ascii", "replace")),
        _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
        _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
    ]
    if calling_ae_title:
        elements.append(_element(0x0017, b"AE", calling_ae_title.encode("ascii", "replace")))
    if called_ae_title:
        elements.append(_element(0x0018, b"AE", called_ae_title.encode("ascii", "replace")))
    meta = b"".join(elements)
    return PREFIX + _element(0x0000, b"UL", struct.pack("<I", len(meta))) + meta
