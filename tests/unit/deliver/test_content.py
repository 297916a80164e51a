"""Comparing, merging and cutting of resources."""

from __future__ import annotations

from typing import Any

from intu_fhir.deliver.content import (
    number_of_instances,
    rebase,
    same_content,
    without_instances,
)

OURS: dict[str, Any] = {
    "resourceType": "ImagingStudy",
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
    "description": "ours",
    "numberOfInstances": 3,
    "series": [
        {"uid": "1", "numberOfInstances": 2, "instance": [{"uid": "1.1"}, {"uid": "1.2"}]},
        {"uid": "2", "numberOfInstances": 1, "instance": [{"uid": "2.1"}]},
    ],
}


def test_what_servers_add_is_no_difference() -> None:
    """Id, meta and narrative do not make other content; everything else does."""
    theirs = {**OURS, "id": "7", "meta": {"versionId": "2"}, "text": {"status": "generated"}}
    assert same_content(OURS, theirs)
    assert not same_content(OURS, {**theirs, "description": "theirs"})
    assert not same_content(OURS, {**theirs, "note": [{"text": "x"}]})


def test_a_patient_that_the_server_found_is_no_difference() -> None:
    """A reference in place of our search is ours, as long as the identifier is."""
    named = {"identifier": {"system": "s", "value": "1"}}
    asked = {**OURS, "subject": {**named, "reference": "Patient?identifier=s%7C1"}}
    found = {**OURS, "subject": {**named, "reference": "Patient/7"}}
    another = {"identifier": {"system": "s", "value": "2"}, "reference": "Patient/7"}
    assert same_content(asked, found)
    assert not same_content(asked, {**found, "subject": another})
    assert not same_content({**asked, "subject": {**named, "reference": "Patient/8"}}, found)


def test_rebase_keeps_what_others_added() -> None:
    """Our elements win; elements, identifiers and tags of others stay."""
    theirs = {
        **OURS,
        "id": "7",
        "meta": {"versionId": "5", "lastUpdated": "x", "tag": [{"code": "vip"}]},
        "text": {"div": "old"},
        "description": "theirs",
        "encounter": {"reference": "Encounter/1"},
        "identifier": [{"system": "ehr", "value": "E1"}, *OURS["identifier"]],
    }
    merged = rebase(OURS, theirs)
    assert merged["description"] == "ours"
    assert merged["encounter"] == {"reference": "Encounter/1"}
    assert merged["identifier"] == [*OURS["identifier"], {"system": "ehr", "value": "E1"}]
    assert merged["meta"] == {"tag": [{"code": "vip"}]}
    assert "text" not in merged
    assert "id" not in merged


def test_rebase_never_brings_images_back() -> None:
    """A study whose images are all rejected stays empty, though others wrote beside it."""
    left = {key: OURS[key] for key in ("resourceType", "identifier", "description")}
    empty = {**left, "status": "entered-in-error", "numberOfInstances": 0}
    theirs = {**OURS, "modality": [{"code": "CT"}], "numberOfSeries": 2, "note": [{"text": "x"}]}
    assert rebase(empty, theirs) == {**empty, "note": [{"text": "x"}]}


def test_rebase_leaves_out_what_must_go() -> None:
    """The way to images that are deleted does not stay because another wrote meanwhile."""
    theirs = {**OURS, "endpoint": [{"reference": "Endpoint/1"}], "note": [{"text": "x"}]}
    assert rebase(OURS, theirs, frozenset({"endpoint"})) == {**OURS, "note": theirs["note"]}
    assert rebase(OURS, theirs) == theirs


def test_rebase_on_our_own_content_changes_nothing() -> None:
    """Without additions of others the result is what we built."""
    assert rebase(OURS, {**OURS, "id": "7", "meta": {"versionId": "1"}}) == OURS


def test_without_instances_keeps_series_and_counts() -> None:
    """Never a part of the instances: all of them or none, and the counts stay."""
    cut = without_instances(OURS)
    assert number_of_instances(OURS) == 3
    assert number_of_instances(cut) == 0
    assert cut["numberOfInstances"] == 3
    assert [series["numberOfInstances"] for series in cut["series"]] == [2, 1]
    assert number_of_instances(OURS) == 3
