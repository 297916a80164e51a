"""The complete header, as DICOM JSON and as staged values."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intu_fhir.model.finding import Severity
from intu_fhir.stage import describe as module
from intu_fhir.stage.describe import Description, describe
from intu_fhir.stage.remarks import MAX_FINDINGS
from intu_fhir.stage.tree import MAX_TOTAL_NODES
from tests.support.elements import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    bare,
    element,
    uids,
    written,
)
from tests.support.studies import make_instance

ITEM = 0xFFFEE000
SEQUENCE = 0x00081140
NAME, ID, CHARSET = 0x00100010, 0x00100020, 0x00080005


def _described(*elements: bytes, **levels: str) -> Description:
    return describe(b"".join(elements), EXPLICIT, levels)


def _codes(found: Description) -> list[tuple[str, str]]:
    return [(finding.code, finding.attribute) for finding in found.findings]


def _rich() -> Dataset:
    """Return an instance with sequences, private elements and numbers."""
    dataset = make_instance(PatientName="Grün^Äse=山田^太郎", PatientID="P\\1")
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "T-1", "Häute"
    inner = Dataset()
    inner.PurposeOfReferenceCodeSequence = Sequence([code])
    inner.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedImageSequence = Sequence([inner, Dataset()])
    block = dataset.private_block(0x0019, "MAKER 1", create=True)
    block.add_new(0x10, "LO", "secret sauce")
    return dataset


@pytest.mark.parametrize("transfer_syntax_uid", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_the_staged_values_are_the_same_in_every_encoding(transfer_syntax_uid: str) -> None:
    """Values arrive raw, by level, with sequences as lists of items, in each encoding."""
    levels = {
        "PatientName": "patient",
        "PatientID": "patient",
        "SeriesNumber": "series",
        "Rows": "instance",
        "ReferencedImageSequence": "instance",
        "StudyComments": "study",
    }
    found = describe(written(_rich(), transfer_syntax_uid), transfer_syntax_uid, levels)
    assert found.shared == {
        "PatientName": "Grün^Äse=山田^太郎",
        "PatientID": "P\\1",
        "SeriesNumber": "1",
    }
    code = {"CodeValue": "T-1", "CodeMeaning": "Häute"}
    inner = {"ReferencedSOPInstanceUID": "1.2.3", "PurposeOfReferenceCodeSequence": [code]}
    assert found.instance == {"Rows": "2", "ReferencedImageSequence": [inner, {}]}
    assert found.findings == ()


@pytest.mark.parametrize("transfer_syntax_uid", [EXPLICIT, BIG])
def test_private_values_are_keyed_by_block_and_creator(transfer_syntax_uid: str) -> None:
    """A private element is found by group, element and creator, in capital digits or small."""
    levels = {"0019xx10:MAKER 1": "series", "00A9XX10:OTHER": "series"}
    data = written(_rich(), transfer_syntax_uid)
    dataset = Dataset()
    dataset.private_block(0x00A9, "OTHER", create=True).add_new(0x10, "LO", "x")
    data += written(dataset, transfer_syntax_uid)
    found = describe(data, transfer_syntax_uid, levels)
    assert found.shared == {"0019xx10:MAKER 1": "secret sauce", "00A9XX10:OTHER": "x"}


def test_json_follows_the_dicom_json_model() -> None:
    """Names have groups, numbers are numbers, pixel data is a reference (PS3.18 F.2)."""
    json = describe(written(_rich(), EXPLICIT), EXPLICIT, {}).dicom_json
    assert json["00100010"] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Grün^Äse", "Ideographic": "山田^太郎"}],
    }
    assert json["00280010"] == {"vr": "US", "Value": [2]}
    assert json["00200013"] == {"vr": "IS", "Value": [1]}
    assert json["7FE00010"] == {"vr": "OW", "BulkDataURI": "tag/7FE00010"}
    assert json["00081140"]["Value"][1] == {}
    nested = json["00081140"]["Value"][0]["0040A170"]["Value"][0]
    assert nested["00080104"] == {"vr": "LO", "Value": ["Häute"]}
    assert orjson.loads(orjson.dumps(json)) == json


def test_each_item_may_have_its_own_character_set() -> None:
    """An item without a set of its own has that of what is around it."""
    name = "é".encode()
    own = element(CHARSET, "CS", b"ISO_IR 192") + element(NAME, "PN", name)
    inherited = element(NAME, "PN", b"\xe9")
    items = element(SEQUENCE, "SQ", bare(ITEM, own) + bare(ITEM, inherited))
    found = _described(
        element(CHARSET, "CS", b"ISO_IR 100"), items, ReferencedImageSequence="study"
    )
    assert [item["PatientName"] for item in found.shared["ReferencedImageSequence"]] == ["é", "é"]


def test_bulk_data_is_referred_to_with_its_path() -> None:
    """Large binary values become relative references; small ones stand inline."""
    icon = bare(ITEM, element(0x00281201, "OW", bytes(2_000)) + element(0x00281202, "OW", b"\1\2"))
    json = _described(element(0x00880200, "SQ", icon)).dicom_json["00880200"]["Value"][0]
    assert json["00281201"] == {"vr": "OW", "BulkDataURI": "tag/00880200/1/00281201"}
    assert json["00281202"] == {"vr": "OW", "InlineBinary": "AQI="}


def test_compressed_pixel_data_is_a_reference() -> None:
    """Fragments are never part of a header."""
    pixels = element(0x7FE00010, "OB", length=UNDEFINED) + bare(ITEM, b"abcd") + bare(SEQUENCE_END)
    found = describe(uids() + pixels, JPEG, {})
    assert found.dicom_json["7FE00010"] == {"vr": "OB", "BulkDataURI": "tag/7FE00010"}


@pytest.mark.parametrize(("sign", "value"), [(b"\0\0", 65535), (b"\1\0", -1)])
def test_pixel_representation_decides_between_signed_and_unsigned(sign: bytes, value: int) -> None:
    """Smallest Image Pixel Value in implicit form is signed where the pixels are."""
    data = bare(0x00280103, sign) + bare(0x00280106, b"\xff\xff")
    assert describe(data, IMPLICIT, {}).dicom_json["00280106"]["Value"] == [value]


def test_unknown_values_of_known_elements_are_read() -> None:
    """UN is replaced by what the dictionary says, sequences included."""
    items = bare(ITEM, bare(0x00081155, b"1.2.3\0"))
    found = _described(
        element(NAME, "UN", b"A^B "), element(SEQUENCE, "UN", items), ReferencedImageSequence="x"
    )
    assert found.dicom_json["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}
    assert found.shared == {"ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3"}]}


def test_an_unknown_value_that_is_no_sequence_stays_binary() -> None:
    """A sequence by dictionary whose bytes are none is kept as bytes."""
    found = _described(element(SEQUENCE, "UN", b"no items"))
    assert found.dicom_json["00081140"] == {"vr": "UN", "InlineBinary": "bm8gaXRlbXM="}


def test_group_lengths_and_padding_are_left_out() -> None:
    """What only describes the encoding is no part of the header."""
    found = _described(element(0x00100000, "UL", bytes(4)), element(0xFFFCFFFC, "OB", bytes(8)))
    assert found.dicom_json == {}


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (element(CHARSET, "CS", b"KLINGON "), ("unknown_character_set", "SpecificCharacterSet")),
        (element(ID, "LO", b"\xff"), ("undecodable_text", "PatientID")),
        (element(0x00200013, "IS", b"1A"), ("invalid_number", "InstanceNumber")),
        (element(0x00091001, "IS", b"1A"), ("invalid_number", "00091001")),
        (element(ID, "LO", b"B") + element(NAME, "PN", b"A"), ("out_of_order", "")),
        (element(ID, "LO", b"B") * 2, ("repeated", "")),
        (element(ID, "LO", b"N" * 65_000) + b"\0", ("incomplete", "")),
        (bare(ID, b"AB"), ("other_encoding", "")),
    ],
)
def test_what_is_wrong_is_found_and_named_without_values(
    data: bytes, finding: tuple[str, str]
) -> None:
    """Each irregularity gives one finding with the attribute, never with a value."""
    found = _described(data)
    assert _codes(found) == [finding]
    assert all("1A" not in f.message and f.level == "instance" for f in found.findings)


def test_findings_name_the_instance() -> None:
    """A finding carries the SOP Instance UID it is about."""
    found = _described(uids(), element(0x00200013, "IS", b"x "))
    assert [finding.uid for finding in found.findings] == ["1.2.3.4"]


def test_a_truncated_header_is_described_up_to_its_end() -> None:
    """What stands before the damage is kept, and the damage is an error."""
    found = _described(
        element(NAME, "PN", b"A^"), element(ID, "LO", b"12", length=99), PatientName="x"
    )
    assert found.shared == {"PatientName": "A^"}
    assert [f.severity for f in found.findings] == [Severity.ERROR]


@pytest.mark.parametrize("text", [b"\0", b"A\0B", b"\xed\xa0\x80", b"\x1b$B"])
@pytest.mark.parametrize("charset", [b"ISO_IR 192", b"ISO 2022 IR 6\\ISO 2022 IR 87", b"GB18030 "])
def test_nothing_reaches_json_that_a_database_refuses(text: bytes, charset: bytes) -> None:
    """NUL and lone surrogates never occur in what is staged."""
    vrs = enumerate(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
    data = b"".join(element(0x00091000 + n, vr, b"x" + text + b"y") for n, vr in vrs)
    found = _described(element(CHARSET, "CS", charset), data)
    stored = orjson.dumps(found.dicom_json)
    assert b"\\u0000" not in stored
    assert b"\\ud8" not in stored


@pytest.mark.parametrize(
    ("tag", "vr"),
    [(0x00104000, "LT"), (0x0040A160, "UT"), (NAME, None), (ID, None)],
)
def test_text_of_megabytes_is_left_out(tag: int, vr: str | None) -> None:
    """Text beyond any sense is a reference where the model allows it, else left out."""
    found = describe(bare(tag, b"N" * 10_000_000), IMPLICIT, {})
    name = f"{tag:08X}"
    assert found.dicom_json == ({name: {"vr": vr, "BulkDataURI": f"tag/{name}"}} if vr else {})
    assert [finding.code for finding in found.findings] == ["too_large"]


def test_a_header_beyond_its_limit_loses_its_largest_values() -> None:
    """Large private text is dropped until the header fits, and each drop is noted."""
    private = b"".join(element(0x00091100 + n, "UT", b"t" * 60_000) for n in range(100))
    found = _described(private, element(0x0020000D, "UI", b"1.2 "))
    assert len(orjson.dumps(found.dicom_json)) <= module.MAX_JSON_BYTES
    assert found.dicom_json["0020000D"] == {"vr": "UI", "Value": ["1.2"]}
    assert {code for code, _ in _codes(found)} == {"too_large"}


def test_functional_groups_of_thousands_of_frames_are_left_out() -> None:
    """A sequence with more elements than anyone reads is dropped and noted."""
    item = bare(ITEM, element(0x00201041, "DS", b"1.5 ") * 10, length=UNDEFINED) + bare(ITEM_END)
    groups = element(0x52009230, "SQ", item * 10_000, length=UNDEFINED) + bare(SEQUENCE_END)
    found = _described(uids(), groups)
    assert "52009230" not in found.dicom_json
    assert _codes(found) == [("too_large", "PerFrameFunctionalGroupsSequence")]


def test_of_countless_elements_a_bounded_number_is_kept() -> None:
    """Elements beyond any sense are left out and noted, and what stands first is kept."""
    many = b"".join(
        bare(group << 16 | n) for group in (0x2001, 0x2003, 0x2005) for n in range(0x1000, 0xFFFF)
    )
    found = describe(bare(NAME, b"A^") + many, IMPLICIT, {"PatientName": "patient"})
    assert found.shared == {"PatientName": "A^"}
    assert len(found.dicom_json) <= MAX_TOTAL_NODES
    assert len(orjson.dumps(found.dicom_json)) <= module.MAX_JSON_BYTES
    assert {code for code, _ in _codes(found)} == {"too_large"}


def test_text_of_gigabytes_in_small_pieces_is_not_read() -> None:
    """Values are read up to a total, whatever each of them has."""
    many = b"".join(element(0x00091100 + n, "UT", b"t" * 60_000) for n in range(800))
    tracemalloc.start()
    found = _described(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024**2
    assert len(orjson.dumps(found.dicom_json)) <= module.MAX_JSON_BYTES


def test_the_number_of_findings_is_bounded() -> None:
    """A header that is wrong everywhere gives a bounded number of findings."""
    data = b"".join(element(0x00091000 + n, "IS", b"x ") for n in range(500))
    assert len(_described(data).findings) == MAX_FINDINGS


def test_what_governs_others_and_comes_again_and_again_takes_no_memory() -> None:
    """F-03: two hundred thousand times Pixel Representation, which deflates to three kilobytes."""
    content = uids() + element(0x00280103, "US") * 200_000 + element(0x00280103, "US", b"\1\0")
    tracemalloc.start()
    try:
        seen = describe(content, EXPLICIT, {})
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert "00280103" in seen.dicom_json
