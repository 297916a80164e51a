"""What the dictionary says of a tag."""

from __future__ import annotations

import time

import pytest
from pydicom._dicom_dict import RepeatersDictionary
from pydicom.datadict import dictionary_keyword, dictionary_VR

from intu_fhir.stage.dictionary import keyword_of, vr_of


@pytest.mark.parametrize(
    ("tag", "creator", "vr", "keyword"),
    [
        (0x00100010, "", "PN", "PatientName"),
        (0x60020010, "", "US", "OverlayRows"),
        (0x00280106, "", "US or SS", "SmallestImagePixelValue"),
        (0x00100000, "", "UL", ""),
        (0x00090000, "", "UL", ""),
        (0x00090010, "", "LO", ""),
        (0x00291010, "SIEMENS CSA HEADER", "OB", ""),
        (0x00291010, "NOBODY", "UN", ""),
        (0x00087FFF, "", "UN", ""),
    ],
)
def test_tags_are_looked_up(tag: int, creator: str, vr: str, keyword: str) -> None:
    """Standard, repeating, private and unknown tags have their VR and keyword."""
    assert (vr_of(tag, creator), keyword_of(tag)) == (vr, keyword)


def test_every_repeating_element_is_known() -> None:
    """No mask of the dictionary is passed over."""
    for mask in RepeatersDictionary:
        tag = int(mask.replace("x", "2"), 16)
        assert (keyword_of(tag), vr_of(tag)) == (dictionary_keyword(tag), dictionary_VR(tag))


def test_foreign_tags_cost_little() -> None:
    """A hundred thousand tags that nobody knows are looked up in well under a second."""
    started = time.thread_time()  # of this test alone, whatever else the machine does
    for tag in range(0x20021000, 0x20021000 + 100_000):
        keyword_of(tag)
        vr_of(tag)
    assert time.thread_time() - started < 0.8
