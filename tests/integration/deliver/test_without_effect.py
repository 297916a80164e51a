"""Servers that answer a write with success and have something else than was sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.demo.ehr import Fault, StandInEhr
from intu_fhir.model.outcome import Retry
from tests.support.publications import delivered, imaging_study, publication

WHERE = {"Content-Type": "application/fhir+json"}


def _shown(ehr: StandInEhr, **changes: Any) -> bytes:
    [stored] = ehr.resources("ImagingStudy")
    return json.dumps({**stored, **changes}).encode()


@pytest.mark.parametrize("status", [200, 204])
def test_h01_an_update_that_is_answered_without_a_body_is_read_back(
    ehr: StandInEhr, client: FhirClient, status: int
) -> None:
    """A server that did it and says nothing is believed once it shows it."""
    first = delivered(client.publish(publication(imaging_study())))
    ehr.fail_next(Fault(status, body=b"", done=True))
    outcome = delivered(client.publish(publication(imaging_study(instances=3), known=first)))
    assert (outcome.server_id, outcome.version) == (first.server_id, "2")
    assert outcome.status == str(status)


@pytest.mark.parametrize(("status", "shows"), [(200, False), (200, True), (204, False)])
@pytest.mark.parametrize("change", [{"instances": 3}, {"description": "another"}])
def test_h01_an_update_without_effect_is_no_success(
    ehr: StandInEhr, client: FhirClient, status: int, shows: bool, change: dict[str, Any]
) -> None:
    """A server that shows its old version has not taken the new one; it is sent again."""
    first = delivered(client.publish(publication(imaging_study())))
    ehr.fail_next(Fault(status, WHERE, body=_shown(ehr) if shows else b""))
    wanted = publication(imaging_study(**change), known=first)
    outcome = client.publish(wanted)
    assert isinstance(outcome, Retry)
    assert "other content than was sent (version 1)" in outcome.detail
    assert delivered(client.publish(wanted)).version == "2"


def test_an_old_state_is_no_success_where_the_version_was_not_known(
    ehr: StandInEhr, client: FhirClient
) -> None:
    """Who has forgotten the version still sees that another number of images is shown."""
    delivered(client.publish(publication(imaging_study())))
    ehr.fail_next(Fault(200, WHERE, body=_shown(ehr)))
    outcome = client.publish(publication(imaging_study(instances=3)))
    assert isinstance(outcome, Retry)
    assert "other content" in outcome.detail


def test_an_update_that_changes_nothing_keeps_its_version(
    ehr: StandInEhr, client: FhirClient
) -> None:
    """A server that finds its content equal makes no version, and has its own form of times."""
    started = {"started": "2024-03-01T10:00:00+01:00"}
    first = delivered(client.publish(publication(imaging_study(**started))))
    ehr.fail_next(Fault(200, WHERE, body=_shown(ehr, started="2024-03-01T09:00:00Z")))
    forgotten = publication(imaging_study(**started), known=first)
    again = client.publish(replace(forgotten, last_hash=""))
    assert delivered(again).version == first.version
