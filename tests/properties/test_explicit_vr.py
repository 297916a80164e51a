"""Data sets that change their encoding: no value is lost, added or mended."""

from __future__ import annotations

import contextlib
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from intu_fhir.deliver.explicit_vr import NotTakenApart, encode, read_elements

_TEXT = st.text(st.characters(codec="ascii", exclude_characters="\\^=\0"), max_size=12).map(
    str.strip
)
_VALUES = {
    0x00080050: ("SH", _TEXT),
    0x00081030: ("LO", _TEXT),
    0x00091001: ("UN", st.binary(max_size=9).map(lambda b: b + b"\0" * (len(b) % 2))),
    0x00181310: ("US", st.lists(st.integers(0, 65_535), min_size=2, max_size=4)),
    0x00189073: ("FD", st.floats(allow_nan=False)),
    0x0018A001: ("SQ", st.nothing()),
    0x00200032: ("DS", st.just("1.50")),
    0x00280009: ("AT", st.just(0x00181063)),
    0x00283006: ("OW", st.binary(max_size=10).map(lambda b: b + b"\0" * (len(b) % 2))),
    0x00409210: ("SH", _TEXT),
    0x00720064: ("IS", st.just("12")),
    0x00720070: ("UT", _TEXT),
    0x00720078: ("UL", st.integers(0, 2**32 - 1)),
}


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    """Return a data set with elements of many kinds, and sequences of either form."""
    dataset = Dataset()
    dataset.is_undefined_length_sequence_item = draw(st.booleans())
    for tag in draw(st.sets(st.sampled_from(sorted(_VALUES)))):
        vr, values = _VALUES[tag]
        if vr != "SQ":
            dataset.add_new(tag, vr, draw(values))
        elif depth:
            items = draw(st.lists(data_sets(depth=depth - 1), max_size=2))
            dataset.add_new(tag, vr, Sequence(items))
            dataset[tag].is_undefined_length = draw(st.booleans())
    return dataset


def _bytes(dataset: Dataset, *, implicit: bool = False, little: bool = True) -> bytes:
    out = BytesIO()
    dcmwrite(out, dataset, implicit_vr=implicit, little_endian=little)
    return out.getvalue()


@given(data_sets())
def test_nothing_changes_where_nothing_is_changed(dataset: Dataset) -> None:
    """Explicit VR Little Endian taken apart and put together is the same bytes."""
    data = _bytes(dataset)
    assert encode(read_elements(data), implicit=False) == data


@given(data_sets())
def test_implicit_vr_is_what_pydicom_writes(dataset: Dataset) -> None:
    """The bytes in Implicit VR are those that pydicom writes of the same values."""
    assert encode(read_elements(_bytes(dataset)), implicit=True) == _bytes(dataset, implicit=True)


@given(data_sets(), st.booleans())
def test_big_endian_becomes_little(dataset: Dataset, implicit: bool) -> None:
    """A big endian data set becomes what pydicom would have written in little endian.

    But for OW, whose bytes pydicom takes as they are: there words are swapped (PS3.5 7.3).
    """
    big = _swap_words(dataset)
    made = encode(read_elements(_bytes(big, little=False), big_endian=True), implicit=implicit)
    assert made == _bytes(dataset, implicit=implicit)


def _swap_words(dataset: Dataset) -> Dataset:
    big = Dataset()
    big.is_undefined_length_sequence_item = dataset.is_undefined_length_sequence_item
    for element in dataset:
        value = element.value
        if element.VR == "OW":
            value = b"".join(value[i : i + 2][::-1] for i in range(0, len(value), 2))
        elif element.VR == "SQ":
            value = Sequence([_swap_words(item) for item in value])
        big.add_new(element.tag, element.VR, value)
        big[element.tag].is_undefined_length = element.is_undefined_length
    return big


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes that are no data set are refused, and nothing else happens."""
    with contextlib.suppress(NotTakenApart):
        encode(read_elements(data), implicit=True)


@given(data_sets(), st.data())
def test_a_data_set_with_a_wrong_byte_is_read_or_refused(
    dataset: Dataset, data: st.DataObject
) -> None:
    """Whatever one byte becomes: the data set is refused, or what is made of it can be read."""
    encoded = bytearray(_bytes(dataset))
    if not encoded:
        return
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotTakenApart):
        made = encode(read_elements(bytes(encoded)), implicit=False)
        read_dataset(DicomBytesIO(made), False, True)
