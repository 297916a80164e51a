"""The walk over elements, byte by byte."""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

import pytest

from intu_fhir.errors import InvalidDataSet
from intu_fhir.stage.elements import ITEM, PIXEL_DATA, UNDEFINED, Element, walk
from intu_fhir.stage.encodings import (
    DEFAULT_LIMITS,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
    Limits,
)
from tests.support.elements import ITEM_END, SEQUENCE_END, bare, element

SEQUENCE = 0x00081140
NAME = 0x00100010


def _walked(data: bytes, encoding: Encoding = EXPLICIT_LITTLE) -> list[Element]:
    return list(walk(data, encoding, DEFAULT_LIMITS))


def _shape(data: bytes, encoding: Encoding = EXPLICIT_LITTLE) -> list[tuple[int, int]]:
    return [(found.tag, found.depth) for found in _walked(data, encoding)]


def _nested(depth: int, *, defined: bool) -> bytes:
    """Return sequences around sequences, written from the outside so that depth costs nothing."""
    inner = element(NAME, "PN", b"A^")
    if defined:
        sizes = [len(inner) + 20 * around for around in reversed(range(depth))]
        heads = [
            element(SEQUENCE, "SQ", length=size + 8) + bare(ITEM, length=size) for size in sizes
        ]
        return b"".join(heads) + inner
    head = element(SEQUENCE, "SQ", length=UNDEFINED) + bare(ITEM, length=UNDEFINED)
    return head * depth + inner + (bare(ITEM_END) + bare(SEQUENCE_END)) * depth


def test_elements_tell_where_their_value_stands() -> None:
    """An element is yielded with tag, VR, offset and length of its value."""
    data = element(NAME, "PN", b"DOE^") + element(0x7FE00010, "OB", b"\1\2")
    assert _walked(data) == [
        Element(NAME, b"PN", 8, 4, 0, True),
        Element(PIXEL_DATA, b"OB", 24, 2, 0, True),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order: str) -> None:
    """Big endian heads are read as such, and say so of their values."""
    data = element(0x00280010, "US", struct.pack(order + "H", 7), order=order)
    encoding = EXPLICIT_LITTLE if order == "<" else EXPLICIT_BIG
    (found,) = _walked(data, encoding)
    assert (found.tag, found.length, found.little) == (0x00280010, 2, order == "<")


def test_implicit_form_is_read_without_value_representation() -> None:
    """In implicit form sequences are known by the dictionary."""
    data = bare(SEQUENCE, bare(ITEM, bare(NAME, b"A^")))
    assert _shape(data, IMPLICIT_LITTLE) == [(SEQUENCE, 0), (ITEM, 1), (NAME, 1)]


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_are_walked_whatever_their_length_form(defined: bool) -> None:
    """Items of defined and undefined length give the same elements."""
    expected = [(SEQUENCE, 0), (ITEM, 1), (SEQUENCE, 1), (ITEM, 2), (NAME, 2)]
    assert _shape(_nested(2, defined=defined)) == expected


def test_unknown_of_undefined_length_is_an_implicit_sequence() -> None:
    """UN of undefined length holds implicit items (PS3.5 6.2.2), also when big endian is around."""
    items = bare(ITEM, bare(NAME, b"A^")) + bare(SEQUENCE_END)
    head = element(0x00091001, "UN", length=UNDEFINED, order=">")
    found = _walked(head + items, EXPLICIT_BIG)
    assert [(e.tag, e.little) for e in found][1:] == [(ITEM, True), (NAME, True)]


def test_an_item_may_fall_back_to_implicit_form() -> None:
    """Items written in implicit form inside an explicit data set are read."""
    data = element(SEQUENCE, "SQ", bare(ITEM, bare(NAME, b"A^")))
    assert _shape(data)[-1] == (NAME, 1)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(element(0x00091001, "ZZ", b"\4\0\0\0abcd", length=0), id="reserved"),
        pytest.param(element(0x00091001, "ZZ", b"abcd"), id="short"),
        pytest.param(bare(0x00091001, b"abcd"), id="implicit"),
        pytest.param(element(0x00091001, "  ", b"abcd"), id="blank"),
    ],
)
def test_unknown_value_representations_do_not_lose_what_follows(odd: bytes) -> None:
    """A VR that nobody knows is passed over by its length, in each form that occurs."""
    assert _shape(odd + element(NAME, "PN", b"A^"))[-1] == (NAME, 0)


def test_group_lengths_odd_lengths_and_padding_are_elements_like_others() -> None:
    """Group lengths, values of odd length and trailing padding are passed over."""
    data = (
        element(0x00080000, "UL", b"\0\0\0\0")
        + element(NAME, "PN", b"ODD")
        + element(0xFFFCFFFC, "OB", bytes(10))
    )
    assert len(_walked(data)) == 3


def test_fragments_are_one_element_and_checked_to_their_end() -> None:
    """Encapsulated pixel data is one element; its fragments must end with a delimiter."""
    head = element(PIXEL_DATA, "OB", length=UNDEFINED)
    fragments = bare(ITEM) + bare(ITEM, b"\xff\xd8\xff\xd9")
    assert _shape(head + fragments + bare(SEQUENCE_END)) == [(PIXEL_DATA, 0)]
    for broken in (fragments, fragments + bare(NAME), bare(ITEM, b"ab", length=2**32 - 2)):
        with pytest.raises(InvalidDataSet):
            _walked(head + broken)


@pytest.mark.parametrize(
    "broken",
    [
        element(NAME, "PN", b"A^", length=9),
        element(NAME, "PN", b"A^")[:-3],
        element(SEQUENCE, "SQ", bare(ITEM, b"", length=99)),
        element(SEQUENCE, "SQ", bare(NAME, b"")),
        element(SEQUENCE, "SQ", b"", length=UNDEFINED),
        element(SEQUENCE, "SQ", bare(ITEM, length=UNDEFINED)),
        element(SEQUENCE, "SQ", bare(ITEM, element(NAME, "PN", b"A^", length=6))),
        element(SEQUENCE, "SQ", b"", length=0xFFFFFFFE),
        element(PIXEL_DATA, "OW", b"", length=0xFFFFFFFE),
        bare(ITEM) + element(NAME, "PN"),
        bare(SEQUENCE_END),
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(1) * 3,
    ],
)
def test_bytes_that_are_no_complete_data_set_are_refused(broken: bytes) -> None:
    """Values, items and sequences that run beyond their place are refused."""
    with pytest.raises(InvalidDataSet):
        _walked(broken)


def test_an_item_that_is_longer_than_its_sequence_is_named() -> None:
    """The error says what is wrong, without any value."""
    inside = bare(ITEM, element(NAME, "PN", b"A^"))
    data = element(SEQUENCE, "SQ", inside, length=len(inside) - 2) + element(NAME, "PN", b"A^")
    with pytest.raises(InvalidDataSet, match="item runs beyond its sequence"):
        _walked(data)


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("depth", [10, 64])
def test_nesting_up_to_the_limit_is_read(depth: int, defined: bool) -> None:
    """Sequences nested 64 deep are read to the bottom."""
    assert _walked(_nested(depth, defined=defined))[-1].depth == depth


@pytest.mark.timed
@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("depth", [65, 1_000, 100_000])
def test_nesting_beyond_the_limit_is_refused_at_once(depth: int, defined: bool) -> None:
    """Nesting of any depth costs no recursion and no time."""
    data = _nested(depth, defined=defined)
    started = time.perf_counter()
    with pytest.raises(InvalidDataSet, match="nested"):
        _walked(data)
    assert time.perf_counter() - started < 0.1


@pytest.mark.parametrize(
    "many",
    [
        element(NAME, "PN") * 1_001,
        element(SEQUENCE, "SQ", bare(ITEM) * 1_001),
        element(PIXEL_DATA, "OB", length=UNDEFINED) + bare(ITEM) * 1_001,
        element(SEQUENCE, "SQ") * 1_001,
    ],
)
def test_the_number_of_elements_is_bounded(many: bytes) -> None:
    """Elements, items and fragments beyond the limit are refused."""
    with pytest.raises(InvalidDataSet, match="More than"):
        list(walk(many, EXPLICIT_LITTLE, Limits(max_elements=1_000)))


def test_wanted_elements_are_those_of_the_top_level() -> None:
    """Elements inside of sequences are checked but not yielded when tags are asked for."""
    data = _nested(1, defined=True) + element(NAME, "PN", b"TOP^")
    found = list(walk(data, EXPLICIT_LITTLE, DEFAULT_LIMITS, frozenset({NAME})))
    assert [data[e.offset : e.offset + e.length] for e in found] == [b"TOP^"]


@pytest.mark.timed
def test_pixel_data_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """A mapped file of 2 GiB is walked without touching its pixel pages."""
    path = tmp_path / "large"
    size = 2 * 1024**3
    with path.open("wb") as file:
        file.write(element(NAME, "PN", b"A^") + element(PIXEL_DATA, "OW", length=size))
        file.truncate(file.tell() + size)
    started = time.perf_counter()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert len(list(walk(mapped, EXPLICIT_LITTLE, DEFAULT_LIMITS))) == 2
    assert time.perf_counter() - started < 0.1
