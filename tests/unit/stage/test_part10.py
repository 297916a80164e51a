"""Finding the data set in a file."""

from __future__ import annotations

import struct

import pytest

from intu_fhir.files.part10 import part10_head
from intu_fhir.stage.part10 import DataSetPlace, find_data_set
from tests.support.elements import BIG, EXPLICIT, IMPLICIT, JPEG, bare, element, uids

CLASS = "1.2.840.10008.5.1.4.1.1.7"
PREAMBLE = bytes(128) + b"DICM"


def _meta(syntax: str | None = JPEG, *, group_length: int | None = None) -> bytes:
    parts = [element(0x00020002, "UI", CLASS.encode() + b"\0")]
    parts.append(element(0x00020003, "UI", b"1.2.3.4\0"))
    if syntax is not None:
        parts.append(element(0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2)))
    meta = b"".join(parts)
    length = len(meta) if group_length is None else group_length
    return element(0x00020000, "UL", struct.pack("<I", length)) + meta


def test_our_own_head_is_understood() -> None:
    """The head that staging writes leads to the data set behind it."""
    head = part10_head(CLASS, "1.2.3.4", JPEG, calling_ae_title="CT1", called_ae_title="INTU")
    assert find_data_set(head + uids()) == DataSetPlace(len(head), JPEG, CLASS, "1.2.3.4")


@pytest.mark.parametrize("start", [PREAMBLE, b"MZ".ljust(128, b"\x90") + b"DICM", b""])
@pytest.mark.parametrize("group_length", [None, 0, 17, 10**6])
def test_meta_information_is_read_whatever_its_group_length_says(
    start: bytes, group_length: int | None
) -> None:
    """Preambles of any kind or none, and wrong group lengths, lead to the same data set."""
    content = start + _meta(group_length=group_length)
    assert find_data_set(content + uids()) == DataSetPlace(len(content), JPEG, CLASS, "1.2.3.4")


def test_a_deflated_stream_that_looks_like_meta_information_is_left_alone() -> None:
    """The group length, where right, ends the meta information."""
    content = PREAMBLE + _meta("1.2.840.10008.1.2.1.99")
    place = find_data_set(content + b"\2\0\x99\0UI\2\0ab")
    assert place is not None
    assert place.offset == len(content)


@pytest.mark.parametrize(
    ("data_set", "syntax"),
    [
        (uids(), EXPLICIT),
        (uids(explicit=False), IMPLICIT),
        (uids(order=">"), BIG),
        (element(0x00080000, "UL", bytes(4)), EXPLICIT),
        (bare(0x00080000, bytes(4)), IMPLICIT),
        (bare(0x00080005, b"ISO_IR 100"), IMPLICIT),
    ],
)
def test_files_without_a_transfer_syntax_show_their_form(data_set: bytes, syntax: str) -> None:
    """Bare data sets, and those whose meta information says nothing, show their form."""
    assert find_data_set(data_set) == DataSetPlace(0, syntax)
    assert find_data_set(PREAMBLE + data_set) == DataSetPlace(len(PREAMBLE), syntax)
    head = PREAMBLE + _meta(None)
    assert find_data_set(head + data_set) == DataSetPlace(len(head), syntax, CLASS, "1.2.3.4")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"PK\3\4" + bytes(200),
        bytes(1_000),
        b"\xff" * 1_000,
        PREAMBLE,
        PREAMBLE + b"no meta information",
        PREAMBLE + _meta()[:30],
        PREAMBLE + element(0x00020010, "UI", b"1.2", length=65_000),
        b"\x08\0\x05\0\xff\xff\xff\xff" + bytes(50),
        b"\x08\0\x03\x7f\4\0\0\0" + bytes(50),
    ],
)
def test_other_files_have_no_data_set(content: bytes) -> None:
    """Text, pictures, archives, zeros and damaged heads are not DICOM."""
    assert find_data_set(content) is None


def test_meta_information_may_lack_everything_but_a_transfer_syntax() -> None:
    """Meta information of one element, without preamble, is enough."""
    head = element(0x00020010, "UI", JPEG.encode())
    assert find_data_set(head + uids()) == DataSetPlace(len(head), JPEG)


def test_a_data_set_of_no_known_form_is_taken_for_implicit() -> None:
    """With meta information but without a transfer syntax the default counts (PS3.5 10.1)."""
    head = PREAMBLE + _meta(None)
    place = find_data_set(head + bare(0x00010001, length=0xFFFFFFFF))
    assert place == DataSetPlace(len(head), IMPLICIT, CLASS, "1.2.3.4")


def test_a_media_directory_is_told_from_an_instance() -> None:
    """A DICOMDIR is known by its SOP class."""
    head = part10_head("1.2.840.10008.1.3.10", "1.2.3", EXPLICIT)
    place = find_data_set(head + uids())
    assert place is not None
    assert place.is_media_directory
