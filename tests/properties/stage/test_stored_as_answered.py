"""Whoever reads a stored file finds the instance that was answered, and nothing else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from intu_fhir.errors import InvalidDataSet, InvalidUid
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.instance import InstanceHeader
from intu_fhir.stage.header import read_header
from intu_fhir.stage.part10 import find_data_set
from tests.support.elements import BIG, DEFLATED, EXPLICIT, IMPLICIT, bare, deflated, element, uids

ORDERS = {IMPLICIT: "<", EXPLICIT: "<", DEFLATED: "<", BIG: ">"}
IDENTITY = {
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
}
# Those which a reader of files goes by, those of a command, UIDs, and groups that swap to them.
TAGS = st.sampled_from(
    [
        *(0x00000000, 0x00000002, 0x00000100, 0x00001000),
        *(0x00020000, 0x00020002, 0x00020003, 0x00020010, 0x00020016),
        *(0x02000010, 0x02001000, 0x00040010, 0x00090010, 0xFFFCFFFC),
        *IDENTITY.values(),
    ]
)
VALUES = st.sampled_from(
    [b"", b"\1\0\0\0", b"1.2.3.66", b"1.2.3.4\0", EXPLICIT.encode() + b"\0", DEFLATED.encode()]
)
STRAYS = st.lists(st.tuples(TAGS, VALUES), max_size=2)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What pydicom says of odd files is of no interest here."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.getLogger("pydicom").setLevel(logging.NOTSET)


def _written(strays: list[tuple[int, bytes]], syntax: str) -> bytes:
    order = ORDERS[syntax]
    if syntax == IMPLICIT:
        return b"".join(bare(tag, value, order=order) for tag, value in strays)
    return b"".join(element(tag, "UI", value, order=order) for tag, value in strays)


def _taken(data_set: bytes, syntax: str) -> InstanceHeader | None:
    try:
        return read_header(data_set, syntax)
    except (InvalidDataSet, InvalidUid):
        return None


def _assert_found_alike(header: InstanceHeader, data_set: bytes) -> None:
    """The file of a data set that was taken is to pydicom and to ourselves what was answered."""
    head = part10_head(
        header.sop_class_uid,
        header.sop_instance_uid,
        header.transfer_syntax_uid,
        calling_ae_title="PEER",
        called_ae_title="INTU",
    )
    place = find_data_set(head + data_set)
    assert place is not None
    assert (place.offset, place.transfer_syntax_uid) == (len(head), header.transfer_syntax_uid)
    assert place.sop_instance_uid == header.sop_instance_uid
    seen = dcmread(BytesIO(head + data_set))
    meta = seen.file_meta
    assert meta.FileMetaInformationGroupLength == len(head) - 144
    assert meta.TransferSyntaxUID == header.transfer_syntax_uid
    assert meta.MediaStorageSOPInstanceUID == header.sop_instance_uid
    assert meta.SendingApplicationEntityTitle == "PEER"
    assert len(meta) == 9
    for keyword in IDENTITY:
        assert seen[keyword].value == header.values[keyword]


@given(
    before=STRAYS,
    between=STRAYS,
    after=STRAYS,
    syntax=st.sampled_from(sorted(ORDERS)),
)
@settings(max_examples=1_500, deadline=None)
def test_what_is_taken_is_to_every_reader_what_was_answered(
    before: list[tuple[int, bytes]],
    between: list[tuple[int, bytes]],
    after: list[tuple[int, bytes]],
    syntax: str,
) -> None:
    """With stray elements anywhere, a file has the syntax, UIDs and offset that were answered."""
    order = ORDERS[syntax]
    whole = uids(order=order, explicit=syntax != IMPLICIT)
    cut = whole.index(b"1.2.3.4\0") + 8  # behind the SOP Instance UID
    plain = _written(before, syntax) + whole[:cut] + _written(between, syntax)
    plain += whole[cut:] + _written(after, syntax)
    data_set = deflated(plain) if syntax == DEFLATED else plain
    header = _taken(data_set, syntax)
    if header is not None:
        _assert_found_alike(header, data_set)


@pytest.mark.parametrize("syntax", sorted(ORDERS))
@pytest.mark.parametrize("tag", [0x00000002, 0x00000100, 0x00020000, 0x00020010, 0x00020003])
def test_what_belongs_to_commands_or_files_begins_no_data_set(tag: int, syntax: str) -> None:
    """Groups 0000 and 0002 at the beginning of a data set are refused by name."""
    if syntax == BIG:
        tag = (tag >> 16 & 0xFF) << 24 | tag & 0xFFFF  # what group 2 is to a reader of the file
    plain = _written([(tag, b"1.2.3.66")], syntax) + uids(
        order=ORDERS[syntax], explicit=syntax != IMPLICIT
    )
    with pytest.raises(InvalidDataSet, match="group 0000 or 0002"):
        read_header(deflated(plain) if syntax == DEFLATED else plain, syntax)


@pytest.mark.parametrize("keyword", sorted(IDENTITY))
def test_an_ambiguous_uid_is_refused(keyword: str) -> None:
    """A UID that stands twice and differs is refused; alike it does no harm."""
    again = element(IDENTITY[keyword], "UI", b"1.2.3.66")
    for plain in (again + uids(), uids() + again):
        with pytest.raises(InvalidDataSet, match=f"{keyword} stands twice"):
            read_header(plain, EXPLICIT)
    assert read_header(uids() + uids(), EXPLICIT).sop_instance_uid == "1.2.3.4"
