"""The scanned attributes are those that pydicom reads, whatever else stands between them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from intu_fhir.files.part10 import part10_head
from intu_fhir.stage.header import SCANNED, read_header
from tests.support.elements import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    bare,
    deflated,
    element,
    uids,
)

ORDERS = {IMPLICIT: "<", EXPLICIT: "<", DEFLATED: "<", BIG: ">"}
# Character sets (PS3.3 C.12.1.1.2) by what is declared, Python's codec, and letters of them.
CHARACTER_SETS = {
    "": ("ascii", "abcXYZ 09"),
    "ISO_IR 100": ("latin_1", "aäöüßÉñ"),
    "ISO_IR 101": ("iso8859_2", "aąłżČ"),
    "ISO_IR 126": ("iso8859_7", "aΔιονυσ"),
    "ISO_IR 144": ("iso8859_5", "aЛюкceмбг"),
    "ISO_IR 148": ("iso8859_9", "aÇavuşğ"),
    "ISO_IR 166": ("tis_620", "aนามสกุล"),
    "ISO_IR 192": ("utf_8", "aé王小東김"),
    "GB18030": ("gb18030", "a王小东"),
    "\\ISO 2022 IR 149": ("euc_kr", "abc"),
}
TEXTS = {  # PS3.6: those of the scanned that take letters of the character set
    0x00081030: "LO",
    0x0008103E: "LO",
    0x00100010: "PN",
    0x00100020: "LO",
    0x00200010: "SH",
}
PRIVATE, UNKNOWN_SEQUENCE = 0x00091001, 0x00091002


@st.composite
def _texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, bytes]]]:
    """Return a declared character set, and elements encoded in it, some of them twice."""
    declared = draw(st.sampled_from(sorted(CHARACTER_SETS)))
    codec, letters = CHARACTER_SETS[declared]
    text = st.text(st.sampled_from(letters), max_size=12)
    pairs = draw(st.lists(st.tuples(st.sampled_from(sorted(TEXTS)), text), max_size=7))
    return declared, [(tag, value.encode(codec)) for tag, value in pairs]


STRANGERS = st.lists(
    st.tuples(st.sampled_from(["private", "UN", "sequence"]), st.binary(max_size=30)), max_size=4
)


def _even(value: bytes, pad: bytes = b" ") -> bytes:
    return value + pad * (len(value) % 2)


def _element(tag: int, vr: str, value: bytes, syntax: str) -> bytes:
    order = ORDERS[syntax]
    if syntax == IMPLICIT:
        return bare(tag, value, order=order)
    return element(tag, vr, value, order=order)


def _stranger(kind: str, value: bytes, syntax: str) -> bytes:
    """Return an element that no reader knows; items of UN are implicit (PS3.5 6.2.2)."""
    value = _even(value, b"\0")
    if kind == "private":
        return _element(PRIVATE, "OB", value, syntax)
    if kind == "UN" or syntax == BIG:  # where pydicom reads such items big endian
        return _element(PRIVATE, "UN", value, syntax)
    order = ORDERS[syntax]
    inner = bare(0x00100020, _even(value), order="<") + bare(ITEM_END)
    inner = bare(ITEM, length=UNDEFINED) + inner + bare(SEQUENCE_END)
    if syntax == IMPLICIT:
        return bare(UNKNOWN_SEQUENCE, length=UNDEFINED) + inner
    return element(UNKNOWN_SEQUENCE, "UN", order=order, length=UNDEFINED) + inner


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What pydicom says of odd files is of no interest here."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.getLogger("pydicom").setLevel(logging.NOTSET)


def _theirs(seen: Dataset, keyword: str) -> str:
    value: Any = seen.get(keyword, "")
    if isinstance(value, MultiValue):
        return "\\".join(map(str, value))
    return "" if value is None else str(value).strip(" \0")


@given(
    texts=_texts(),
    strangers=STRANGERS,
    syntax=st.sampled_from(sorted(ORDERS)),
    late=st.booleans(),
)
@settings(max_examples=1_000, deadline=None)
def test_scanned_values_are_those_that_pydicom_reads(
    texts: tuple[str, list[tuple[int, bytes]]],
    strangers: list[tuple[str, bytes]],
    syntax: str,
    late: bool,
) -> None:
    """In every character set, with UN, private and repeated elements, both read the same."""
    declared, elements = texts
    charset = _element(0x00080005, "CS", _even(declared.encode()), syntax)
    plain = uids(order=ORDERS[syntax], explicit=syntax != IMPLICIT)
    unknown = b"".join(_stranger(kind, value, syntax) for kind, value in strangers)
    some = b"".join(_element(tag, TEXTS[tag], _even(value), syntax) for tag, value in elements)
    whole = plain + charset + unknown + some if late else charset + plain + some + unknown
    content = deflated(whole) if syntax == DEFLATED else whole
    header = read_header(content, syntax)
    head = part10_head(header.sop_class_uid, header.sop_instance_uid, syntax)
    seen = dcmread(BytesIO(head + content))
    for keyword in SCANNED.values():
        assert header.values.get(keyword, "") == _theirs(seen, keyword), keyword
