"""Compressed images, real and made, and what DCMTK makes of them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)

from intu_fhir.deliver.dicom import ObjectToSend
from tests.support.data import pydicom_files, shared_data
from tests.support.programs import require
from tests.support.studies import make_instance

JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
_META = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
_DECODERS = {
    "1.2.840.10008.1.2.4.50": "dcmdjpeg",
    "1.2.840.10008.1.2.4.51": "dcmdjpeg",
    "1.2.840.10008.1.2.4.57": "dcmdjpeg",
    "1.2.840.10008.1.2.4.70": "dcmdjpeg",
    "1.2.840.10008.1.2.4.80": "dcmdjpls",
    "1.2.840.10008.1.2.4.81": "dcmdjpls",
    "1.2.840.10008.1.2.5": "dcmdrle",
}
UNDECODABLE = {
    "JPGExtended.dcm": "lossy JPEG of 12 bits",
    "JPEG-lossy.dcm": "lossy JPEG of 12 bits",
    "SC_rgb_jpeg.dcm": "its header is in implicit VR",
    "JPEG2000-embedded-sequence-delimiter.dcm": "its codestream is cut short",
    "liver_nonbyte_aligned_j2k.dcm": "one bit for a sample",
    "liver_nonbyte_aligned_rle.dcm": "one bit for a sample",
    "liver_nonbyte_aligned_deflate.dcm": "one bit for a sample",
    "liver_rle.dcm": "one bit for a sample",
    "liver_j2k.dcm": "one bit for a sample",
    "liver_deflate.dcm": "one bit for a sample",
    "multiframe.dcm": "its frames differ in size",
    "genFile.dcm": "its frames are not JPEG",
    "GH364.dcm": "an item stands where an element should",
}
"""Files that cannot be decompressed, and why."""


def compressed_files() -> Iterator[tuple[Path, ObjectToSend]]:
    """Give the compressed real images at hand, each SOP Instance UID once."""
    folder, seen = shared_data(), set()
    more = sorted((folder / "dicom").rglob("*.dcm")) if folder else []
    for path in [*pydicom_files(), *more]:
        one = _object(path)
        if one is None or not _is_compressed(one.transfer_syntax_uid):
            continue
        if one.sop_instance_uid not in seen:
            seen.add(one.sop_instance_uid)
            yield path, one


def _is_compressed(uid: str) -> bool:
    native = {"1.2.840.10008.1.2", ExplicitVRLittleEndian, ExplicitVRBigEndian}
    return uid not in {*native, DeflatedExplicitVRLittleEndian}


def _object(path: Path) -> ObjectToSend | None:
    """Return a Part 10 file as an object to send; None where it lacks what that needs."""
    content = path.read_bytes()
    if content[128:132] != b"DICM" or content[132:136] != b"\2\0\0\0":
        return None
    meta = read_file_meta_info(path)
    sop_class, instance, syntax = (str(meta.get(keyword, "")) for keyword in _META)
    if not (sop_class and instance and syntax):
        return None
    return ObjectToSend(
        sop_class, instance, syntax, path, 144 + int.from_bytes(content[140:144], "little")
    )


def decoded_by_dcmtk(path: Path, uid: str, out: Path) -> Dataset | None:
    """Return what DCMTK decompresses; None where it cannot."""
    program = _DECODERS.get(uid)
    if program is None:
        return None
    done = subprocess.run(
        [require(program), str(path), str(out)], capture_output=True, check=False, timeout=60
    )
    return dcmread(out, force=True) if done.returncode == 0 else None


def multi_frame(frames: int, *, rows: int = 64, columns: int = 64, **attributes: object) -> Dataset:
    """Return an uncompressed multi-frame image; each frame is another one."""
    dataset = make_instance("multi", number=1)
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    pixels = np.arange(frames * rows * columns, dtype="<u2") % 4001
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def pixels_of(dataset: Dataset) -> np.ndarray:
    """Return the samples of an uncompressed image of two bytes for each, frame by frame."""
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    shape = (int(dataset.get("NumberOfFrames", 1)), dataset.Rows, dataset.Columns)
    return np.frombuffer(dataset.PixelData, kind)[: np.prod(shape)].reshape(shape)


def compress(dataset: Dataset, uid: str, path: Path) -> ObjectToSend:
    """Compress an image, and write it as a file that is ready to be sent."""
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    dataset.compress(UID(uid), generate_instance_uid=False)
    return write(dataset, path)


def write(dataset: Dataset, path: Path) -> ObjectToSend:
    """Write a data set as a file that is ready to be sent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    one = _object(path)
    assert one is not None
    return one
