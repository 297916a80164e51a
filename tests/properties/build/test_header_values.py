"""Nothing that a header can hold makes a build fail, or makes an invalid resource."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from intu_fhir.build.datatypes import clean_code, clean_text, unsigned
from intu_fhir.build.names import persons
from intu_fhir.build.validate import validate_resource
from intu_fhir.mappings import Release, staged_attributes
from intu_fhir.model.finding import errors
from intu_fhir.model.uid import is_uid
from tests.support.building import build, header

_KEYWORDS = sorted(staged_attributes())
_ITEM_KEYWORDS = [
    "CodeValue",
    "CodingSchemeDesignator",
    "CodeMeaning",
    "URNCodeValue",
    "LongCodeValue",
    "CodingSchemeUID",
    "UniversalEntityID",
    "UniversalEntityIDType",
    "LocalNamespaceEntityID",
    "AccessionNumber",
    "PersonIdentificationCodeSequence",
    "EquivalentCodeSequence",
    "SpecimenIdentifier",
    "ReasonForTheRequestedProcedure",
    "CodingSchemeResourcesSequence",
    "CodingSchemeURL",
    "ReferencedSeriesSequence",
]
_TEXT = (
    st.text(max_size=24)
    | st.text(alphabet="0123456789.\\^=-+:URNISOLC \0\ud800\ufffd", max_size=24)
    | st.sampled_from(["113001", "DCM", "SCT", "SRT", "T-D3000", "ISO", "URI", "L", "YES", "CT"])
)
_VALUE = st.recursive(
    _TEXT,
    lambda inner: st.lists(
        st.dictionaries(st.sampled_from(_ITEM_KEYWORDS), inner, max_size=4), max_size=3
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    values=st.dictionaries(st.sampled_from(_KEYWORDS), _VALUE, max_size=12),
    release=st.sampled_from(["r4", "r5"]),
)
def test_any_header_makes_a_valid_resource(values: dict[str, Any], release: Release) -> None:
    """Whatever stands in a header, the resource is valid and nothing raises."""
    values.pop("SOPInstanceUID", None)
    built = build(header(**values), release=release)
    assert errors(validate_resource(built.resource, release)) == []


@given(st.text())
def test_clean_text_is_fhir_text(raw: str) -> None:
    """Text is none, or has neither edges, nor control nor replacement characters."""
    text = clean_text(raw)
    if text is not None:
        assert text == text.strip()
        assert not any(c < " " and c not in "\t\r\n" for c in text)
        assert "\N{REPLACEMENT CHARACTER}" not in text
        text.encode("utf-8")


@given(st.text())
def test_clean_code_is_a_fhir_code(raw: str) -> None:
    """A code has no edge spaces and single inner ones."""
    code = clean_code(raw)
    assert code == " ".join(code.split())


@given(st.integers(-10, 2**40), st.sampled_from(["{}", " {} ", "{}.0", "+{}", "00{}", "{}\\7"]))
def test_numbers_are_kept_or_left_out(number: int, form: str) -> None:
    """A whole number in range comes through however it is written, any other does not."""
    raw = form.format(number)
    expected = number if 0 <= number < 2**31 else (7 if "\\7" in raw else None)
    if number >= 0 or form not in {"+{}", "00{}"}:
        assert unsigned(raw) == expected


@given(st.text(alphabet="aÄ山 ^=\\\ufffd\0.", max_size=40))
def test_names_have_no_empty_parts(raw: str) -> None:
    """Whatever a name is, its parts are filled and it can be shown."""
    for groups in persons(raw):
        for name in groups:
            made = name.human_name()
            assert made["text"].strip() == made["text"] != ""
            assert all(part for key in ("given", "prefix") for part in made.get(key, []))
            assert not set("^=\\\0") & set(made["text"])


@given(st.text(alphabet="0123456789.", max_size=70))
def test_uids(raw: str) -> None:
    """A UID has numbers between single dots and 64 characters at most (PS3.5 9.1)."""
    parts = raw.split(".")
    assert is_uid(raw) is (len(raw) <= 64 and all(parts))
