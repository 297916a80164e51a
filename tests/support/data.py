"""Where real DICOM files for tests are."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Not readable to their end, by DCMTK neither, and why.
INCOMPLETE = {
    "rtplan_truncated.dcm": "ends inside a sequence",
    "MR_truncated.dcm": "ends inside pixel data",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "ends inside a fragment",
    "GH1339.dcm": "ends before the delimiter of its fragments",
    "GH179B.dcm": "ends inside a text",
    "GH364.dcm": "an item stands where an element should",
    "GH626.dcm": "garbage behind the last element",
    "DICOMDIR-nooffset": "an item runs beyond its sequence",
}


def shared_data() -> Path | None:
    """Return the folder of real studies that stands beside a checkout, if it is there.

    It holds ``MANIFEST.csv`` and ``dicom/``; tests that use it skip where it is absent.
    """
    folder = REPOSITORY.parent / "shared" / "data"
    return folder if (folder / "MANIFEST.csv").is_file() else None


def require_shared_data() -> Path:
    """Return the folder of real studies, or skip the test."""
    folder = shared_data()
    if folder is None:
        pytest.skip("the folder of real studies is not beside this checkout")
    return folder


def pydicom_files() -> list[Path]:
    """Return the DICOM files that pydicom's wheel ships, in a fixed order; never empty."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(path for path in folder.rglob("*.dcm") if path.is_file())
