"""Real compressed images for PACS that take only uncompressed ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array

from intu_fhir.deliver.dicom import NOT_TRANSCODED, ObjectToSend
from tests.support.compressed import (
    JPEG_BASELINE,
    JPEG_EXTENDED,
    UNDECODABLE,
    compressed_files,
    decoded_by_dcmtk,
)
from tests.support.data import INCOMPLETE, shared_data
from tests.support.outgoing import Sending, path_of
from tests.support.real_pacs import NAMES, real_pacs

_MAY_CHANGE = {
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "LossyImageCompression",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "EncapsulatedPixelDataValueTotalLength",
    "IconImageSequence",
    "DataSetTrailingPadding",  # DCMTK leaves it out
}


@pytest.fixture(autouse=True)
def _files_are_odd() -> Iterator[None]:
    """Real files make pydicom complain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _send_all(sending: Sending, objects: list[ObjectToSend]) -> None:
    left = objects
    while left:
        sending.send(left)
        answered = {answer.sop_instance_uid for answer in sending.answers}
        left = [one for one in left if one.sop_instance_uid not in answered]


def _header(dataset: Dataset) -> dict[int, object]:
    return {
        int(one.tag): (one.value if one.VR != "SQ" else len(one.value))
        for one in dataset
        if one.keyword not in _MAY_CHANGE and one.tag.element and not one.tag.is_private
    }  # implicit VR does not tell what private values are; their bytes are compared elsewhere


def _pixels(path: Path, uid: str) -> np.ndarray | None:
    """Return what pydicom decodes, with the colours that an uncompressed image has."""
    dataset = dcmread(path)
    if "PixelData" not in dataset:
        return None
    return pixel_array(dataset, raw=uid not in {JPEG_BASELINE, JPEG_EXTENDED})


_SMALL, _MOST = 200_000, 1_000_000
RUNS = [("storescp", "explicit", _MOST), ("storescp", "implicit", _SMALL)]
RUNS += [("orthanc", "explicit", _SMALL)]


@pytest.mark.parametrize(("name", "takes", "most_bytes"), RUNS)
def test_real_images_arrive_decompressed(
    name: str, takes: str, most_bytes: int, tmp_path: Path
) -> None:
    """What is in the PACS has the pixels that pydicom and DCMTK decode, and the stored header."""
    files = {path: one for path, one in compressed_files() if path.stat().st_size <= most_bytes}
    digests = {path: sha256(path.read_bytes()).digest() for path in files}
    with real_pacs(name, tmp_path / "pacs", uncompressed=takes) as pacs:
        sending = pacs.sending(transcode="uncompressed", timeout_seconds=3.0)
        _send_all(sending, list(files.values()))
        answers = {answer.sop_instance_uid: answer for answer in sending.answers}
        arrived = {
            path: dcmread(BytesIO(pacs.file_of(one.sop_instance_uid)), force=True)
            for path, one in files.items()
            if answers[one.sop_instance_uid].delivered
        }
    assert len(arrived) > (25 if shared_data() else 15)  # else those of pydicom alone
    granted = {answer.transcoded_to for answer in answers.values() if answer.delivered}
    assert granted == {"1.2.840.10008.1.2" if takes == "implicit" else "1.2.840.10008.1.2.1"}
    compared = 0
    for path, one in files.items():
        assert sha256(path.read_bytes()).digest() == digests[path]
        if path in arrived:
            assert str(arrived[path].file_meta.TransferSyntaxUID) in granted
            compared += _is_as_decoded(arrived[path], path, one, tmp_path / "theirs.dcm")
        elif answers[one.sop_instance_uid].status == NOT_TRANSCODED:
            assert path.name in UNDECODABLE, answers[one.sop_instance_uid].detail
    assert compared > 10


def _is_as_decoded(ours: Dataset, path: Path, one: ObjectToSend, out: Path) -> bool:
    """Compare with what pydicom decodes, and DCMTK; say whether DCMTK can."""
    if path.name in INCOMPLETE:
        return False
    assert _header(ours) == _header(dcmread(path)), path.name
    pixels = _pixels(path, one.transfer_syntax_uid)
    if pixels is None:
        return False
    mine = pixel_array(ours, raw=True)
    assert np.array_equal(mine, pixels), path.name
    theirs = decoded_by_dcmtk(path, one.transfer_syntax_uid, out)
    if theirs is None:
        return False
    assert ours.PhotometricInterpretation == theirs.PhotometricInterpretation, path.name
    off = np.abs(mine.astype(int) - pixel_array(theirs, raw=True).astype(int)).max()
    assert off <= (3 if one.transfer_syntax_uid in {JPEG_BASELINE, JPEG_EXTENDED} else 0), path.name
    return True


@pytest.mark.parametrize("name", NAMES)
def test_what_a_pacs_takes_goes_as_it_is_stored(name: str, tmp_path: Path) -> None:
    """A PACS that takes compressed images gets them, though others would be decompressed."""
    files = [(path, one) for path, one in compressed_files() if path.stat().st_size < 100_000]
    with real_pacs(name, tmp_path / "pacs") as pacs:
        sending = pacs.sending(transcode="uncompressed", timeout_seconds=3.0)
        _send_all(sending, [one for _, one in files[:20]])
    delivered = [answer for answer in sending.answers if answer.delivered]
    assert len(delivered) > 10
    assert {answer.transcoded_to for answer in delivered} == {""}
    assert path_of(files[0][1]).is_file()
