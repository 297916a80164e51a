"""Frames that say of themselves that they are huge: nothing is made room for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from intu_fhir.web.dicomweb.coded import coded_pixels
from tests.support.databases import sqlite_url
from tests.support.images import PATH, serving_images

SIDE = 40_000
OCTETS = 'multipart/related; type="application/octet-stream"'


def _jpeg_2000(frame: bytearray) -> None:
    for at in (8, 24):  # of the image, and of its one tile
        struct.pack_into(">II", frame, at, SIDE, SIDE)


def _jpeg(frame: bytearray) -> None:
    struct.pack_into(">HH", frame, frame.index(b"\xff\xc0") + 5, SIDE, SIDE)


KINDS = {"JPEG2000.dcm": _jpeg_2000, "examples_ybr_color.dcm": _jpeg}


def _made(name: str, file: Path, swell: Callable[[bytearray], None], *, rows: bool) -> str:
    """Write a small file whose frame says that it is huge; return its address."""
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom's wheel has no {name}")
    dataset = pydicom.dcmread(found)
    count = int(dataset.get("NumberOfFrames", 1))
    frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=count)))
    assert coded_pixels(bytes(frame)) == dataset.Rows * dataset.Columns
    swell(frame)
    assert coded_pixels(bytes(frame)) == SIDE * SIDE
    if rows:
        dataset.Rows = dataset.Columns = SIDE
    dataset.PixelData, dataset.NumberOfFrames = encapsulate([bytes(frame)]), 1
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{77 + rows}"
    dataset.save_as(file)
    return (
        f"{PATH}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_frame_that_says_it_is_huge_is_not_decoded(tmp_path: Path, name: str) -> None:
    """A few bytes that speak of gigapixels are 406 at once, by header or codestream alone."""
    files = [tmp_path / "one.dcm", tmp_path / "two.dcm"]
    told = [_made(name, f, KINDS[name], rows=r) for f, r in zip(files, (True, False), strict=True)]
    with (
        serving_images(tmp_path / "site", sqlite_url(tmp_path / "s.db"), files) as served,
        served.client() as client,
    ):
        for address in told:
            for below in ("/rendered", "/thumbnail", "/frames/1"):
                answer = client.get(address + below, headers={"accept": f"{OCTETS}, image/png"})
                assert answer.status_code == 406
                assert "too large to be shown" in answer.text
            assert client.get(f"{address}/frames/2/rendered").status_code == 404
            assert client.get(address).is_success


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xff\xc0\0", b"\xff\x4f\xff\x51"]
)
def test_what_is_cut_says_nothing(frame: bytes) -> None:
    """A codestream without its size has none, however short it is."""
    assert coded_pixels(frame) == 0
