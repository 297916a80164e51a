"""Reading headers holds for data sets that nobody thought of."""

from __future__ import annotations

import random
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intu_fhir.errors import InvalidDataSet, InvalidUid
from intu_fhir.stage.charsets import charset_of, decode
from intu_fhir.stage.describe import describe
from intu_fhir.stage.elements import LONG_VRS, walk
from intu_fhir.stage.encodings import DEFAULT_LIMITS, encoding_of
from intu_fhir.stage.header import SCANNED, read_header
from tests.support.data import pydicom_files
from tests.support.elements import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    bare,
    data_set_of,
    element,
    uids,
    written,
)
from tests.support.studies import make_instance

SYNTAXES = st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED])
LETTERS = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\^="),
    max_size=12,
)
TEXTS = {
    "PatientID": LETTERS,
    "PatientName": LETTERS.map(lambda t: f"{t}^{t}"),
    "StudyDescription": LETTERS,
    "Manufacturer": LETTERS,
    "AccessionNumber": LETTERS,
    "InstanceNumber": st.integers(-(2**31), 2**31 - 1),
    "StudyDate": st.dates().map(lambda d: f"{d:%Y%m%d}".zfill(8)),
    "WindowCenter": st.lists(st.integers(-999, 999), min_size=1, max_size=3),
    "Rows": st.integers(0, 65_535),
    "RecommendedDisplayFrameRateInFloat": st.floats(
        width=32, allow_nan=False, allow_infinity=False
    ),
}
SEQUENCES = ["ReferencedImageSequence", "ProcedureCodeSequence", "RequestAttributesSequence"]
ATTRIBUTES = st.dictionaries(st.sampled_from(sorted(TEXTS)), st.none(), max_size=6).flatmap(
    lambda names: st.fixed_dictionaries({name: TEXTS[name] for name in names})
)
TREES = st.recursive(
    ATTRIBUTES,
    lambda inner: st.tuples(
        ATTRIBUTES, st.dictionaries(st.sampled_from(SEQUENCES), st.lists(inner, max_size=2))
    ).map(lambda both: {**both[0], **both[1]}),
    max_leaves=6,
)


def _fill(dataset: Dataset, attributes: dict[str, Any], *, undefined: bool) -> Dataset:
    for keyword, value in attributes.items():
        if keyword in SEQUENCES:
            items = [_fill(Dataset(), item, undefined=undefined) for item in value]
            for item in items:
                item.is_undefined_length_sequence_item = undefined
            setattr(dataset, keyword, Sequence(items))
            dataset[keyword].is_undefined_length = undefined
        else:
            setattr(dataset, keyword, value)
    return dataset


@given(tree=TREES, syntax=SYNTAXES, undefined=st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_pydicom_writes_is_read_alike(
    tree: dict[str, Any], syntax: str, undefined: bool
) -> None:
    """Any tree of attributes, in any syntax and length form, is read as it was written."""
    dataset = _fill(make_instance(), tree, undefined=undefined)
    content = written(dataset, syntax)
    header = read_header(content, syntax)
    for keyword in SCANNED.values():
        expected = str(dataset[keyword].value) if keyword in dataset else ""
        assert header.values.get(keyword, "") == expected.strip(" ")
    found = describe(content, syntax, dict.fromkeys([*TEXTS, *SEQUENCES], "instance"))
    assert found.findings == ()
    theirs = dataset.to_json_dict()
    del theirs["7FE00010"]
    assert _plain(found.dicom_json) == _plain(theirs)
    for keyword in tree.keys() & SEQUENCES:
        assert len(found.instance.get(keyword, [])) == len(tree[keyword])


def _plain(json: Any) -> Any:
    """Return JSON without pixel data and without what only empty values differ in."""
    if isinstance(json, dict):
        kept = {k: _plain(v) for k, v in json.items() if k != "7FE00010"}
        return {k: v for k, v in kept.items() if v not in ([], "", None, [None], [{}])}
    return [_plain(value) for value in json] if isinstance(json, list) else json


@given(content=st.binary(max_size=400), syntax=SYNTAXES)
@settings(max_examples=1_000, deadline=1_000)
def test_random_bytes_never_surprise(content: bytes, syntax: str) -> None:
    """Bytes without sense are refused by name, and described without an exception."""
    with pytest.raises((InvalidDataSet, InvalidUid)):
        read_header(content, syntax)
    orjson.dumps(describe(content, syntax, {"PatientName": "patient"}).dicom_json)


@given(data=st.data(), syntax=SYNTAXES)
@settings(max_examples=1_000, deadline=1_000)
def test_damaged_data_sets_never_surprise(data: st.DataObject, syntax: str) -> None:
    """A data set with changed bytes is read or refused, and always described."""
    content = bytearray(
        written(
            _fill(make_instance(), {SEQUENCES[0]: [{}, {"PatientID": "x"}]}, undefined=True), syntax
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        values = read_header(bytes(content), syntax).values
        assert "\0" not in "".join(str(value) for value in values.values())
    except (InvalidDataSet, InvalidUid):
        pass
    stored = orjson.dumps(describe(bytes(content), syntax, {}).dicom_json)
    assert b"\\u0000" not in stored


TERMS = st.sampled_from(
    ["", "ISO_IR 192", "GB18030", "GBK", "ISO_IR 166", "ISO_IR 13", "nonsense"]
    + [f"\\ISO 2022 IR {number}" for number in (13, 58, 87, 149, 159)]
)
PIECES = st.sampled_from(
    [b"\x1b$B", b"\x1b$)C", b"\x1b(J", b"\x1b", b"\\", b"^", b"=", b"\0", b"\xa4\xa2"]
)


@given(term=TERMS, pieces=st.lists(PIECES | st.binary(max_size=6), max_size=8), name=st.booleans())
@settings(max_examples=1_000)
def test_text_of_any_bytes_is_decoded_into_what_a_database_takes(
    term: str, pieces: list[bytes], name: bool
) -> None:
    """No bytes in any character set raise, warn, or leave NUL or surrogates."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text, _ = decode(b"".join(pieces), charset_of(term), name=name)
    assert "\0" not in text
    text.encode("utf-8")


def _boundaries(content: bytes, syntax: str) -> Iterator[int]:
    """Give each offset at which an element of the top level starts, and the end."""
    for found in walk(content, encoding_of(syntax), DEFAULT_LIMITS):
        if found.depth == 0:
            yield found.offset - (12 if found.vr in LONG_VRS | {b"SQ"} else 8)
    yield len(content)


@pytest.mark.parametrize("name", ["rtplan.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm"])
def test_a_cut_is_seen_at_every_byte(name: str) -> None:
    """Cut anywhere, a data set is refused, unless the cut is where an element ends.

    A data set of defined lengths says nowhere how long it is: one that ends where an element
    does cannot be told from a shorter one.
    """
    path = next(p for p in pydicom_files() if p.name == name)
    data_set = data_set_of(path)
    assert data_set is not None
    content, syntax = data_set
    ends = set(_boundaries(content, syntax))
    pixels = content.rfind(struct.pack("<HH", 0x7FE0, 0x0010))
    # Every byte of the header, and a sample of the pixels, whose bytes are all alike.
    header_end = min(pixels + 40 if pixels > 0 else len(content), 6_000)
    cuts = [*range(header_end), *random.Random(1).sample(range(len(content)), 300)]
    accepted = {cut for cut in cuts if _is_taken(content[:cut], syntax)}
    assert accepted <= ends
    assert _is_taken(content, syntax)


def test_a_deflated_data_set_shows_each_cut() -> None:
    """A deflated stream says where it ends: no cut at all is taken."""
    content = written(make_instance(), DEFLATED)
    assert not any(_is_taken(content[:cut], DEFLATED) for cut in range(len(content)))
    assert _is_taken(content, DEFLATED)


def _is_taken(content: bytes, syntax: str) -> bool:
    try:
        read_header(content, syntax)
    except (InvalidDataSet, InvalidUid):
        return False
    return True


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
@pytest.mark.parametrize("vr", ["OB", "OW", "UN", "UT", "SQ"])
def test_huge_lengths_are_refused(vr: str, length: int) -> None:
    """A length that no bytes stand behind is never taken."""
    for tag in (0x00091001, 0x7FE00010):
        assert not _is_taken(uids() + element(tag, vr, b"abcd", length=length), EXPLICIT)
        bare_tag = bare(tag, b"abcd", length=length)
        assert not _is_taken(uids(explicit=False) + bare_tag, IMPLICIT)
