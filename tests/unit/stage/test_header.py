"""The scan before the answer."""

from __future__ import annotations

import tracemalloc

import pytest

from intu_fhir.db import tables
from intu_fhir.errors import InvalidDataSet, InvalidUid
from intu_fhir.model.values import MOST_CHARACTERS
from intu_fhir.stage.dictionary import keyword_of
from intu_fhir.stage.header import SCANNED, read_header
from intu_fhir.stage.sources import BytesSource
from tests.support.elements import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    bare,
    deflated,
    element,
    uids,
    written,
)
from tests.support.studies import make_instance

CHARSET, NAME, ID = 0x00080005, 0x00100010, 0x00100020


def _values(*elements: bytes) -> dict[str, object]:
    return dict(read_header(b"".join(elements) + uids(), EXPLICIT).values)


@pytest.mark.parametrize("transfer_syntax_uid", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_every_scanned_attribute_is_read_in_every_encoding(transfer_syntax_uid: str) -> None:
    """The attributes of an instance are the same in each transfer syntax."""
    dataset = make_instance(PatientName="Grün^Äse", IssuerOfPatientID="Clinic")
    header = read_header(written(dataset, transfer_syntax_uid), transfer_syntax_uid)
    assert header.study_instance_uid == dataset.StudyInstanceUID
    assert header.series_instance_uid == dataset.SeriesInstanceUID
    assert header.sop_instance_uid == dataset.SOPInstanceUID
    assert header.sop_class_uid == dataset.SOPClassUID
    expected = {k: str(dataset[k].value) for k in SCANNED.values() if k in dataset}
    assert header.values == expected


def test_scanned_attributes_are_named_as_the_dictionary_has_them() -> None:
    """Tags and keywords of the table belong together."""
    assert {tag: keyword_of(tag) for tag in SCANNED} == SCANNED


def test_every_raw_column_of_the_tables_is_scanned() -> None:
    """What studies, series and instances hold by DICOM keyword is read before the answer."""
    computed = {"number_of_series", "number_of_instances", "transfer_syntax_uid"}
    ours = {name.lower() for name in SCANNED.values()}
    raw = {
        column.name.replace("_", "")
        for table in (tables.studies, tables.series, tables.instances)
        for column in table.columns
        if str(column.type) == "TEXT" and column.name not in computed | {"file"}
    }
    assert raw <= ours


def test_text_is_decoded_by_the_character_set_of_the_data_set() -> None:
    """A character set that stands after the values it governs still governs them."""
    name = "Åse^Grün".encode()
    values = _values(element(NAME, "PN", name), element(CHARSET, "CS", b"ISO_IR 192"))
    assert values["PatientName"] == "Åse^Grün"


def test_padding_is_removed_and_empty_is_absent() -> None:
    """Spaces and NUL around a value are padding; blank values are as good as absent."""
    values = _values(
        element(ID, "LO", b" 007 \0\0"), element(NAME, "PN", b"  "), element(0x00080050, "SH")
    )
    assert values["PatientID"] == "007"
    assert not values.keys() & {"PatientName", "AccessionNumber"}


def test_a_nul_inside_a_value_cannot_reach_the_database() -> None:
    """NUL inside a value becomes the replacement character, so that it is not published."""
    assert _values(element(ID, "LO", b"A\0B "))["PatientID"] == "A\ufffdB"


def test_long_values_are_cut() -> None:
    """A name of 10 MB costs no time and no index."""
    values = read_header(uids(explicit=False) + bare(NAME, b"N" * 10_000_000), IMPLICIT).values
    assert values["PatientName"] == "N" * MOST_CHARACTERS


def test_a_number_written_as_binary_is_not_taken_for_text() -> None:
    """Instance Number with a binary VR is as good as absent."""
    assert "InstanceNumber" not in _values(element(0x00200013, "US", b"\5\0"))


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "missing"),
        ("  ", "missing"),
        ("1.2.", "not a valid"),
        (".1.2", "not a valid"),
        ("1..2", "not a valid"),
        ("1.2.a", "not a valid"),
        ("1.2\\1.3", "not a valid"),
        ("../../../etc/passwd", "not a valid"),
        ("1.2\0.3", "not a valid"),
        ("1." + "2" * 63, "not a valid"),
        (" 1.2.3", "not a valid"),
        ("\0\0" + "1.2.3", "not a valid"),
        ("1.2.3" + "\0" * 2_600 + "4", "not a valid"),
    ],
)
def test_missing_and_invalid_uids_are_refused(keyword: str, value: str, reason: str) -> None:
    """Each of the four UIDs must be there and valid; the error does not repeat the value."""
    with pytest.raises(InvalidUid, match=f"{keyword} is {reason}") as caught:
        read_header(uids(**{keyword: value}), EXPLICIT)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("value", ["1.2.3", "1.2.3\0", "1.2.3 ", "1.02.3", "1." + "2" * 62])
def test_padded_and_common_uids_are_taken(value: str) -> None:
    """Padding is removed; 64 characters and leading zeros in components pass verbatim."""
    assert read_header(uids(SOPInstanceUID=value), EXPLICIT).sop_instance_uid == value.strip("\0 ")


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(100)])
def test_what_is_no_instance_is_refused(content: bytes) -> None:
    """Nothing, text and zeros are refused, one way or the other."""
    with pytest.raises((InvalidDataSet, InvalidUid)):
        read_header(content, EXPLICIT)


@pytest.mark.parametrize("form", ["at hand", "in a file", "deflated"])
def test_attribute_that_stands_there_a_million_times_costs_nothing(form: str) -> None:
    """F-03: it is refused; deflated to a kilobyte it would take hundreds of megabytes."""
    plain = element(0x00080060, "CS") * 200_000 + uids()
    content = {"at hand": plain, "in a file": BytesSource(plain), "deflated": deflated(plain)}
    syntax = DEFLATED if form == "deflated" else EXPLICIT
    tracemalloc.start()
    try:
        with pytest.raises(InvalidDataSet, match="each once"):
            read_header(content[form], syntax)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert _values(element(0x00080060, "CS") * 900, element(0x00080060, "CS", b"CT"))
