"""What differs between two objects of one UID is named by keyword, tag and both values."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from intu_fhir.stage.differing import Difference, differences
from tests.support.studies import make_instance

Side = tuple[bytes, str]


def _side(*, implicit: bool = False, **attributes: Any) -> Side:
    buffer = BytesIO()
    dcmwrite(buffer, make_instance(**attributes), implicit_vr=implicit, little_endian=True)
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return buffer.getvalue(), str(syntax)


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def test_the_same_object_differs_in_nothing() -> None:
    """Two of the same bytes have no difference."""
    assert differences(_side(), _side()) == []


def test_values_that_differ_and_values_that_are_missing() -> None:
    """An attribute that differs has both values, one that only one side has None for the other."""
    found = differences(
        _side(PatientID="P1", PatientName="Sample^Sam", StudyID=None, PatientComments=""),
        _side(PatientID="P2", PatientName="Sample^Tom", StudyID="7"),
    )
    assert found == [
        Difference("(0010,0010)", "PatientName", "Sample^Sam", "Sample^Tom"),
        Difference("(0010,0020)", "PatientID", "P1", "P2"),
        Difference("(0010,4000)", "PatientComments", "", None),
        Difference("(0020,0010)", "StudyID", None, "7"),
    ]


def test_an_attribute_in_a_sequence_is_named_by_its_way() -> None:
    """Within a sequence the path leads to what differs, and only that is named."""
    one, other = (
        [_item(ScheduledProcedureStepID="A"), _item(ScheduledProcedureStepID=which)]
        for which in ("B", "C")
    )
    [found] = differences(
        _side(RequestAttributesSequence=one), _side(RequestAttributesSequence=other)
    )
    assert found.tag == "(0040,0275)[2](0040,0009)"
    assert found.keyword == "RequestAttributesSequence[2].ScheduledProcedureStepID"
    assert (found.staged, found.kept) == ("B", "C")


def test_pixels_that_differ_are_told_by_length_and_digest() -> None:
    """What no header holds is compared byte by byte, and not shown."""
    [found] = differences(_side(PixelData=bytes(8)), _side(PixelData=bytes(7) + b"\1"))
    assert (found.tag, found.keyword) == ("(7FE0,0010)", "PixelData")
    assert found.staged is not None
    assert found.staged.startswith("8 bytes, SHA-256 ")
    assert found.staged != found.kept


def test_pixels_in_fragments_are_compared_up_to_their_own_end() -> None:
    """Fragments of undefined length are the same whatever element follows them."""

    def of(first: bytes, after: bytes) -> Side:
        data, syntax = _side(PixelData=None, Rows=None)
        fragments = b"\xfe\xff\x00\xe0\x04\0\0\0" + first + b"\xfe\xff\xdd\xe0\0\0\0\0"
        pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + fragments
        padding = b"\xfc\xff\xfc\xffOB\0\0" + len(after).to_bytes(4, "little") + after
        return data + pixels + padding, syntax

    [found] = differences(of(b"abcd", b"12"), of(b"abcd", b"1234"))
    assert found.keyword == "DataSetTrailingPadding"
    [found] = differences(of(b"abcd", b"12"), of(b"abce", b"12"))
    assert found.keyword == "PixelData"


def test_another_transfer_syntax_is_one_difference() -> None:
    """The same values in another encoding differ in their transfer syntax alone."""
    [found] = differences(_side(), _side(implicit=True))
    assert (found.tag, found.keyword) == ("(0002,0010)", "TransferSyntaxUID")
    assert found.kept == str(ImplicitVRLittleEndian)


def test_what_breaks_off_is_compared_as_far_as_it_goes() -> None:
    """A data set that ends too early is no error; what it lacks is missing."""
    data, syntax = _side()
    found = differences((data, syntax), (data[:-20], syntax))
    assert found
    assert {one.keyword for one in found} <= {"PixelData", "HighBit", "PixelRepresentation"}
