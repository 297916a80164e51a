"""Whatever a far side sends, it is read or refused by name."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.deliver import upper_layer as ul
from intu_fhir.deliver.accepted import parse_associate_accept
from intu_fhir.deliver.answers import (
    Answer,
    matches,
    outcome_words,
    place_in_headers,
    place_of,
    said,
)
from intu_fhir.deliver.capability import read_capability
from intu_fhir.deliver.content import rebase, same_content, without_instances
from intu_fhir.deliver.demographics import mismatches
from intu_fhir.deliver.publication import private_values
from intu_fhir.deliver.scrub import MAX_LENGTH, scrub

NAMES = st.sampled_from(
    ["resourceType", "issue", "severity", "details", "coding", "text", "entry", "resource", "rest",
     "interaction", "code", "type", "search", "mode", "id", "meta", "identifier", "series",
     "instance", "subject", "name", "family", "birthDate", "software", "expression"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("OperationOutcome"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)


@given(OBJECTS)
def test_any_json_object_can_be_read(resource: dict[str, Any]) -> None:
    """Readers of FHIR take any JSON object without an error."""
    outcome_words(resource)
    outcome_words({**resource, "resourceType": "OperationOutcome"}, "warning")
    matches(resource, "Patient")
    place_of(resource)
    read_capability(resource).quote()
    private_values(resource)
    without_instances(resource)
    mismatches({"PatientName": "A^B", "PatientBirthDate": "19700101"}, resource)


@given(st.binary(max_size=200), st.text(max_size=50), st.integers(0, 999))
def test_any_answer_can_be_read(body: bytes, header: str, status: int) -> None:
    """Bodies and headers of any bytes give words or nothing."""
    answer = Answer(status, {"location": header, "etag": header}, body)
    said(answer)
    place_in_headers(answer, "ImagingStudy")


@given(st.text(max_size=300), st.lists(st.text(min_size=4, max_size=10), max_size=3))
def test_what_is_scrubbed_is_gone(text: str, secrets: list[str]) -> None:
    """No secret is left in any case, and the result is one printable line."""
    cleaned = scrub(" ".join([text, *secrets]), secrets)
    left = cleaned.replace("[hidden]", "\0")
    assert not [s for s in secrets if s in left]
    assert cleaned.isprintable() or not cleaned
    assert len(cleaned) <= MAX_LENGTH


@given(OBJECTS, OBJECTS)
def test_a_rebased_resource_has_all_we_send(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Nothing of ours is lost by merging, but for identifiers, which only grow."""
    ours = {**ours, "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}]}
    ours.pop("meta", None)
    merged = rebase(ours, theirs)
    assert all(merged[key] == ours[key] for key in ours if key != "identifier")
    assert merged["identifier"][0] == ours["identifier"][0]
    assert same_content(merged, rebase(ours, merged))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Parsers of the upper layer raise nothing but ``BadAnswer``."""
    for parse in (parse_associate_accept, ul.parse_reject, ul.parse_response):
        with contextlib.suppress(ul.BadAnswer):
            parse(data)
    with contextlib.suppress(ul.BadAnswer):
        list(ul.parse_fragments(data))
    with contextlib.suppress(ul.BadAnswer):
        ul.read_pdu_header(data[:6].ljust(6, b"\0"))


@given(st.binary(max_size=400))
def test_any_items_after_a_good_beginning(data: bytes) -> None:
    """The items of an accept are read or refused, whatever they hold."""
    with contextlib.suppress(ul.BadAnswer):
        accepted = parse_associate_accept(bytes(68) + data)
        assert orjson.dumps(sorted(accepted.results))
