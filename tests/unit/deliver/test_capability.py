"""Reading of CapabilityStatements."""

from __future__ import annotations

from typing import Any

import pytest

from intu_fhir.deliver.capability import UNKNOWN, read_capability


def _statement(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "4.0.1",
        "rest": [{"mode": "server", "resource": list(resources), **more}],
    }


def test_reads_what_is_offered_for_imaging_study() -> None:
    """Interactions and conditional interactions come from the entry of ImagingStudy."""
    found = read_capability(
        _statement(
            {"type": "Patient", "conditionalUpdate": False},
            {
                "type": "ImagingStudy",
                "interaction": [{"code": "read"}, {"code": "update"}, {}],
                "conditionalUpdate": True,
            },
            interaction=[{"code": "transaction"}],
        )
    )
    assert found.takes_imaging_study
    assert (found.conditional_update, found.conditional_create, found.transaction) == (
        True,
        False,
        True,
    )
    assert found.speaks("r4")
    assert not found.speaks("r5")


def test_a_server_that_only_reads_is_quoted() -> None:
    """A server without write is recognised, and its own words are at hand."""
    found = read_capability(_statement({"type": "ImagingStudy", "interaction": [{"code": "read"}]}))
    assert not found.takes_imaging_study
    assert "read" in found.quote()


def test_a_server_without_imaging_study_is_quoted() -> None:
    """A server that does not list ImagingStudy does not take it."""
    found = read_capability(_statement({"type": "Patient"}))
    assert not found.takes_imaging_study
    assert "does not list ImagingStudy" in found.quote()


@pytest.mark.parametrize(
    "statement",
    [{}, {"rest": []}, {"rest": "x"}, {"rest": [{"resource": [7]}]}, {"software": "x"}],
)
def test_an_empty_statement_says_nothing(statement: dict[str, Any]) -> None:
    """A server that lists no resources is not taken to refuse them."""
    assert read_capability(statement) == UNKNOWN
    assert UNKNOWN.takes_imaging_study
    assert UNKNOWN.speaks("r5")
