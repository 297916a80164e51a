"""A study that an earlier worker may have brought to the server, unheard, or that is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from intu_fhir.demo.ehr import Features, StandInEhr
from intu_fhir.model.outcome import Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.publications import delivered, imaging_study, publication

OFFERS = {
    "If-None-Exist": Features(),
    "conditional update": Features(conditional_create=False),
    "ids of the client's": Features(conditional_update=False, conditional_create=False),
}


@pytest.fixture(params=OFFERS)
def ehr(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StandInEhr]:
    """An EHR with one of the ways to write."""
    with StandInEhr(tmp_path / "ehr", features=OFFERS[request.param]) as server:
        yield server


def _versions(ehr: StandInEhr) -> list[int]:
    [resource] = ehr.resources("ImagingStudy")
    return [one["numberOfInstances"] for one in ehr.versions("ImagingStudy", resource["id"]) if one]


def test_what_a_worker_brought_before_it_died_is_not_brought_again(
    ehr: StandInEhr, connect: ConnectFhir
) -> None:
    """The server has the content already: it is found there, and no second version is made."""
    client, wanted = connect(ehr.base_url), publication(imaging_study())
    first = delivered(client.publish(wanted))
    again = delivered(client.publish(wanted))
    assert (again.server_id, again.version) == (first.server_id, first.version)
    assert _versions(ehr) == [2]


def test_older_content_of_a_worker_that_died_is_updated(
    ehr: StandInEhr, connect: ConnectFhir
) -> None:
    """What is there is not what is wanted: the same resource gets the new content."""
    client = connect(ehr.base_url)
    delivered(client.publish(publication(imaging_study(instances=1))))
    delivered(client.publish(publication(imaging_study(instances=3))))
    assert _versions(ehr) == [1, 3]


def test_nothing_is_written_of_a_study_that_another_worker_has(
    ehr: StandInEhr, connect: ConnectFhir
) -> None:
    """A worker that slept too long does not write over what was delivered meanwhile."""
    client = connect(ehr.base_url)
    first = delivered(client.publish(publication(imaging_study(instances=1))))
    newer = publication(imaging_study(instances=3), known=first)
    delivered(client.publish(newer))
    late = publication(imaging_study(instances=2), known=first)
    outcome = client.publish(late, keep_going=lambda: False)
    assert isinstance(outcome, Retry)
    assert "Another worker" in outcome.detail
    assert _versions(ehr) == [1, 3]
