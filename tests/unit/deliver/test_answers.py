"""Reading of what FHIR servers say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from intu_fhir.deliver.answers import (
    Answer,
    Place,
    bears_identifier,
    etag,
    matches,
    outcome_words,
    place_in_headers,
    place_of,
    said,
)

OUTCOME = {
    "resourceType": "OperationOutcome",
    "vendor": "a strict model would refuse this",
    "issue": [
        {
            "severity": "error",
            "code": "invalid",
            "details": {"coding": [{"code": "4107", "display": "merged"}], "text": "No."},
            "diagnostics": "wrong code",
            "expression": ["ImagingStudy.status"],
        },
        {"severity": "warning", "code": "informational", "diagnostics": "old"},
    ],
}


def _answer(body: Any = b"", **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer(200, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def test_outcome_in_words() -> None:
    """Severity, code, vendor's code, text, diagnostics and path of every issue are kept."""
    words = said(_answer(OUTCOME))
    assert words == (
        "error invalid 4107 merged No. wrong code at ImagingStudy.status; warning informational old"
    )
    assert outcome_words(OUTCOME, "warning") == "warning informational old"


def test_many_issues_are_cut_with_their_number() -> None:
    """An endless outcome is told to be one."""
    many = {"resourceType": "OperationOutcome", "issue": [{"code": "x"}] * 100}
    assert outcome_words(many).endswith("and 95 more")


def test_a_page_is_told_by_its_text() -> None:
    """A proxy's page is kept as its text, without markup."""
    assert said(_answer(b"<html><h1>Please log in</h1></html>")) == "Please log in"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'"text"'])
def test_what_is_no_object_is_no_resource(body: bytes) -> None:
    """Truncated and foreign bodies are no resource, and no error."""
    assert _answer(body).json() is None
    assert _answer(body).resource("Patient") is None


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("https://h/fhir/ImagingStudy/7/_history/3", Place("7", "3")),
        ("ImagingStudy/7", Place("7", "9")),
        ("/fhir/ImagingStudy/a-b.c/", Place("a-b.c", "9")),
        ("https://h/fhir/Patient/7", None),
        ("https://h/fhir/ImagingStudy/../../x", None),
        ("https://[::1/ImagingStudy/7", None),
        ("", None),
    ],
)
def test_location_is_read_as_type_id_and_version(location: str, place: Place | None) -> None:
    """Only the path of Location counts; ETag gives the version where it is missing there."""
    assert place_in_headers(_answer(location=location, etag='W/"9"'), "ImagingStudy") == place


@pytest.mark.parametrize(
    ("value", "version"), [('W/"2"', "2"), ('"2"', "2"), ("2", ""), ("", ""), ('W/"a\n"', "a\n")]
)
def test_etag(value: str, version: str) -> None:
    """Weak and strong entity tags give a version."""
    assert etag(_answer(etag=value)) == version


def test_place_of_refuses_ids_that_would_lead_elsewhere() -> None:
    """An id with a slash never becomes part of a URL."""
    assert place_of({"id": "../x"}) is None
    assert place_of({"id": 7}) is None
    assert place_of({"id": "7", "meta": {"versionId": "2"}}) == Place("7", "2")
    assert place_of({"id": "7", "meta": []}) == Place("7")


def test_matches_leaves_outcomes_and_includes_out() -> None:
    """A searchset's own matches are its matches."""
    study = {"resourceType": "ImagingStudy", "id": "1"}
    entries = [
        {"resource": study},
        {"resource": {**study, "id": "2"}, "search": {"mode": "match"}},
        {"resource": {**study, "id": "3"}, "search": {"mode": "include"}},
        {"resource": OUTCOME, "search": {"mode": "outcome"}},
        {"link": []},
        "noise",
    ]
    found = matches({"entry": entries}, "ImagingStudy")
    assert [resource["id"] for resource in found] == ["1", "2"]


def test_bears_identifier_wants_system_and_value() -> None:
    """The same value in another system is another identifier."""
    resource = {"identifier": [{"system": "a", "value": "1"}, "noise"]}
    assert bears_identifier(resource, "a", "1")
    assert not bears_identifier(resource, "b", "1")
    assert not bears_identifier({"identifier": "noise"}, "a", "1")
