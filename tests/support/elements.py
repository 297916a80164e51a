"""Elements of data sets written byte by byte, and data sets taken out of files."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_partial
from pydicom.filewriter import write_dataset

from intu_fhir.files.part10 import part10_head

UNDEFINED = 0xFFFFFFFF
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD


def element(tag: int, vr: str, value: bytes = b"", *, order: str = "<", length: int = -1) -> bytes:
    """Return one element of explicit form; ``length`` may lie about the value."""
    size = len(value) if length < 0 else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin_1")
    if vr in LONG:
        return head + struct.pack(order + "HI", 0, size) + value
    return head + struct.pack(order + "H", size) + value


def bare(tag: int, value: bytes = b"", *, order: str = "<", length: int = -1) -> bytes:
    """Return one element of implicit form, an item or a delimiter."""
    size = len(value) if length < 0 else length
    return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, size) + value


def uids(*, order: str = "<", explicit: bool = True, **other: str) -> bytes:
    """Return the four UIDs that every instance has; ``other`` replaces some by keyword."""
    given = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.1",
        **other,
    }
    tags = {
        "SOPClassUID": 0x00080016,
        "SOPInstanceUID": 0x00080018,
        "StudyInstanceUID": 0x0020000D,
        "SeriesInstanceUID": 0x0020000E,
    }
    parts = []
    for keyword, tag in tags.items():
        value = given[keyword].encode() + b"\0" * (len(given[keyword]) % 2)
        parts.append(
            element(tag, "UI", value, order=order) if explicit else bare(tag, value, order=order)
        )
    return b"".join(parts)


def write_directory(folder: Path, *references: str) -> Path:
    """Write a DICOMDIR with these Referenced File IDs, components joined by backslashes."""
    records = b"".join(
        bare(ITEM, element(0x00041500, "CS", name.encode() + b" " * (len(name) % 2)))
        for name in references
    )
    path = folder / "DICOMDIR"
    head = part10_head("1.2.840.10008.1.3.10", "1.2.3", EXPLICIT)
    path.write_bytes(head + element(0x00041220, "SQ", records))
    return path


class DataSet(NamedTuple):
    """The data set of a file."""

    content: bytes
    transfer_syntax_uid: str


def data_set_of(path: Path) -> DataSet | None:
    """Return the data set of a DICOM file as pydicom finds it, ``None`` where it finds none."""
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = BytesIO(content)
        try:
            partial = read_partial(buffer, stop_when=lambda *_: True)
        except (InvalidDicomError, OSError):
            return None
    syntax = str(partial.file_meta.get("TransferSyntaxUID", ""))
    offset = buffer.tell()
    if syntax == DEFLATED:  # pydicom has read it all to inflate it
        offset = 128 + 4 + 12 + partial.file_meta.FileMetaInformationGroupLength
    return DataSet(content[offset:], syntax) if syntax else None


def written(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """Return a data set as pydicom writes it in one of the uncompressed syntaxes."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = transfer_syntax_uid != BIG
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    write_dataset(buffer, dataset)
    content = buffer.getvalue()
    return deflated(content) if transfer_syntax_uid == DEFLATED else content


def deflated(content: bytes) -> bytes:
    """Return a data set as PS3.5 A.5 has it deflated."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()
