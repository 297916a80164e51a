"""What the answer to a transaction proves of its entries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from intu_fhir.deliver.answers import Answer, Place
from intu_fhir.deliver.bundle import Entry, places_in, transaction
from intu_fhir.deliver.capability import Capability
from intu_fhir.model.companion import study_identity
from tests.support.publications import imaging_study

OFFERS = Capability(known=True, listed=True, interactions=("update",), conditional_create=True)
STUDY = study_identity("1.2.3")


def _answer(status: str, version: str) -> Answer:
    response = {"status": status, "location": f"ImagingStudy/7/_history/{version}"}
    bundle = {"resourceType": "Bundle", "entry": [{"response": response}]}
    return Answer(200, {}, json.dumps(bundle).encode())


@pytest.mark.parametrize(
    ("before", "status", "version", "proves"),
    [
        (None, "201 Created", "1", True),
        (None, "200 OK", "4", False),
        (Place("7", "1"), "200 OK", "2", True),
        (Place("7", "1"), "200 OK", "1", False),
        (Place("8", "1"), "200 OK", "2", False),
        (Place("7", "1"), "422 Refused", "2", False),
    ],
)
def test_an_entry_without_effect_proves_nothing(
    before: Any, status: str, version: str, proves: bool
) -> None:
    """A create that met another one's resource, an old version, another id: none of them counts."""
    entry = Entry(STUDY, imaging_study(), "hash", before)
    places = places_in(_answer(status, version), [entry], OFFERS)
    assert places == ([Place("7", version)] if proves else None)


def test_a_conditional_update_may_find_one() -> None:
    """Where the server is asked to update what it finds, 200 is a success."""
    offers = Capability(known=True, listed=True, conditional_update=True)
    entry = Entry(STUDY, imaging_study(), "hash")
    assert places_in(_answer("200 OK", "4"), [entry], offers) == [Place("7", "4")]


def test_a_conditional_create_comes_first() -> None:
    """A server that offers both is asked to create if none exists, so that two at once make one."""
    offers = replace(OFFERS, conditional_update=True)
    [entry] = transaction([Entry(STUDY, imaging_study(), "hash")], offers)["entry"]
    assert entry["request"]["method"] == "POST"
    assert entry["request"]["ifNoneExist"].startswith("identifier=")
