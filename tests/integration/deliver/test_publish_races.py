"""Several publishers of one study at the same moment, and every status of an update."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.deliver.outcomes import HTTP_STATUSES
from intu_fhir.demo.ehr import Fault, Features, StandInEhr
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Retry
from intu_fhir.observe.clock import SystemClock
from intu_fhir.settings.schema import FhirDestination
from tests.support.publications import delivered, imaging_study, publication

PUBLISHERS = 8
ROUNDS = 5
OFFERS = {
    "conditional update": Features(),
    "If-None-Exist": Features(conditional_update=False),
    "ids of the client's": Features(conditional_update=False, conditional_create=False),
}


@pytest.fixture(params=OFFERS)
def offering(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StandInEhr]:
    """An EHR with one of the ways to write that name the study to the server."""
    with StandInEhr(tmp_path / "ehr", features=OFFERS[request.param]) as server:
        yield server


@pytest.fixture
def publishers(offering: StandInEhr) -> Iterator[list[FhirClient]]:
    """Clients that share nothing, as those of several installations."""
    wanted = FhirDestination(type="fhir", base_url=offering.base_url, timeout_seconds=20.0)
    with ExitStack() as stack:
        yield [
            stack.enter_context(closing(FhirClient(wanted, clock=SystemClock())))
            for _ in range(PUBLISHERS)
        ]


def test_publishers_that_know_nothing_of_each_other_make_one_resource(
    offering: StandInEhr, publishers: list[FhirClient]
) -> None:
    """All search, none finds it, all write: the server is left with one resource of the study."""
    start = threading.Barrier(PUBLISHERS)

    def publish(client: FhirClient, uid: str) -> DeliveryOutcome:
        client.metadata()
        start.wait(20)
        return client.publish(publication(imaging_study(uid), uid))

    for number in range(ROUNDS):
        uid = f"1.2.3.{number}"
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            outcomes = list(pool.map(publish, publishers, [uid] * PUBLISHERS))
        ids = {one.server_id for one in outcomes if isinstance(one, Delivered)}
        assert len(ids) == 1
        assert all(isinstance(one, Delivered | Retry) for one in outcomes)
        assert len(offering.resources("ImagingStudy")) == number + 1


UPDATES: dict[type[Retry] | type[Dead], tuple[int, ...]] = {
    Retry: (202, 408, 409, 412, 425, 429, 500, 502, 503, 504, 507, 599),
    Dead: (301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 410, 413, 415, 422, 499, 501),
}
ROWS = [(status, kind) for kind, statuses in UPDATES.items() for status in statuses]
WRITES_OF_A_DELIVERY = 6


@pytest.mark.parametrize(("status", "kind"), ROWS)
def test_status_of_an_update(
    ehr: StandInEhr, client: FhirClient, status: int, kind: type[Retry] | type[Dead]
) -> None:
    """A status that stays ends as the table says, and leaves the resource as it was."""
    first = delivered(client.publish(publication(imaging_study())))
    before = ehr.resources("ImagingStudy")
    ehr.fail_next(*[Fault(status, {"Retry-After": "9"})] * WRITES_OF_A_DELIVERY)
    outcome = client.publish(publication(imaging_study(instances=3), known=first))
    assert isinstance(outcome, kind)
    assert outcome.status == str(status)
    assert ehr.resources("ImagingStudy") == before


def test_no_status_is_left_out() -> None:
    """Each row of the table of statuses is tried in an update; a success needs no such test."""
    assert set(HTTP_STATUSES) - {200, 201, 204} <= {status for status, _ in ROWS}
