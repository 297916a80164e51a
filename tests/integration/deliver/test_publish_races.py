"""Several publishers of one study at the same moment, and every status of an update."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.publications import delivered, imaging_study, publication
from tests.support.running import running_site
from tests.support.studies import make_instance

PUBLISHERS = 8
ROUNDS = 5
OFFERS = {
    "If-None-Exist": Features(),
    "conditional update": Features(conditional_create=False),
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


# ---- a server with nothing but search and plain create

PLAIN = Features(conditional_update=False, conditional_create=False, update_create=False)


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[StandInEhr]:
    """An EHR that cannot be told which study a create is of."""
    with StandInEhr(tmp_path / "plain", features=PLAIN) as server:
        yield server


def _between_search_and_create(ehr: StandInEhr, act: Callable[[], object]) -> None:
    """Let somebody else act once, when our create has arrived and nothing was done yet."""
    waiting = [act]

    def look(header: str) -> bool:
        if ehr.received[-1].method in {"POST", "PUT"} and waiting:
            waiting.pop()()
        return True

    ehr.authorize = look


def test_installations_at_a_plain_server_never_double_unnoticed(
    plain: StandInEhr, connect: ConnectFhir
) -> None:
    """Eight that share nothing may create twice there; then at least one says so, to a person."""
    clients = [connect(plain.base_url, timeout_seconds=20.0) for _ in range(PUBLISHERS)]
    start = threading.Barrier(PUBLISHERS)

    def publish(client: FhirClient, uid: str) -> DeliveryOutcome:
        client.metadata()
        start.wait(20)
        return client.publish(publication(imaging_study(uid), uid))

    made = 0
    for number in range(ROUNDS):
        uid = f"1.2.3.{number}"
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            outcomes = list(pool.map(publish, clients, [uid] * PUBLISHERS))
        new = len(plain.resources("ImagingStudy")) - made
        made += new
        told = [one for one in outcomes if isinstance(one, Dead) and "Several" in one.detail]
        assert new == 1 or told


def test_a_double_that_another_makes_meanwhile_is_told(
    plain: StandInEhr, connect: ConnectFhir
) -> None:
    """Where another one created between our search and our create, a person has to look."""
    _between_search_and_create(plain, lambda: plain.store.write(imaging_study()))
    outcome = connect(plain.base_url).publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    assert "leave one of them there" in outcome.detail


def test_what_another_creates_meanwhile_becomes_ours(tmp_path: Path, connect: ConnectFhir) -> None:
    """A conditional create that met another one's resource is followed by an update of it."""
    with StandInEhr(tmp_path / "ehr") as ehr:
        theirs = imaging_study(description="theirs")
        _between_search_and_create(ehr, lambda: ehr.store.write(theirs))
        outcome = delivered(connect(ehr.base_url).publish(publication(imaging_study(instances=3))))
        [stored] = ehr.resources("ImagingStudy")
        assert (stored["id"], stored["numberOfInstances"]) == (outcome.server_id, 3)
        assert outcome.version == "2"


@pytest.mark.parametrize("features", [Features(), Features(conditional_create=False)])
def test_a_create_that_lost_a_race_finds_its_content(
    tmp_path: Path, connect: ConnectFhir, features: Features
) -> None:
    """HAPI FHIR answers 409 to all but one that create the same: nothing is left to be written."""
    with StandInEhr(tmp_path / "ehr", features=features) as ehr:
        ehr.fail_next(Fault(409, done=True))  # what was asked has been done, for another one
        outcome = delivered(connect(ehr.base_url).publish(publication(imaging_study(instances=3))))
        [stored] = ehr.resources("ImagingStudy")
        assert (stored["id"], stored["numberOfInstances"]) == (outcome.server_id, 3)
        assert outcome.version == "1"


def test_a_create_that_lost_a_race_becomes_an_update(ehr: StandInEhr, client: FhirClient) -> None:
    """Where the one that won has other content, it is updated, and keeps what it added."""
    theirs = imaging_study(description="theirs")
    _between_search_and_create(ehr, lambda: ehr.store.write(theirs))
    ehr.fail_next(Fault(409, done=True))
    outcome = delivered(client.publish(publication(imaging_study(instances=3))))
    [stored] = ehr.resources("ImagingStudy")
    assert (stored["id"], stored["numberOfInstances"]) == (outcome.server_id, 3)
    assert (stored["description"], outcome.version) == ("theirs", "2")


def test_a_lost_race_without_a_winner_is_tried_again(ehr: StandInEhr, client: FhirClient) -> None:
    """Where nothing is to be found yet, the other writer has its turn first."""
    ehr.fail_next(Fault(409))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)
    assert "tried again by itself" in outcome.detail


def test_workers_of_one_installation_never_double_at_a_plain_server(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """One study is one worker's at a time, so that eight of them need nothing of the server."""
    images = [make_instance(f"study {number}") for number in range(PUBLISHERS)]
    ehr = {"concurrency": PUBLISHERS}
    with running_site(tmp_path, migrated_database_url, ehr=ehr, features=PLAIN) as running:
        running.ehr.fail_next(*[Fault(drop="after")] * 3, *[Fault(503)] * 3)
        running.send(images)
        running.rest()
        found = [one["identifier"][0]["value"] for one in running.imaging_studies()]
        assert len(found) == len(set(found)) == PUBLISHERS


def test_who_has_lost_the_study_writes_nothing(ehr: StandInEhr, client: FhirClient) -> None:
    """A worker whose lease has ended leaves the study to the one who has it now."""
    outcome = client.publish(publication(imaging_study()), lambda: False)
    assert isinstance(outcome, Retry)
    assert "Another worker has the study" in outcome.detail
    assert ehr.resources("ImagingStudy") == []


# ---- every status


UPDATES: dict[type[Retry] | type[Dead], tuple[int, ...]] = {
    Retry: (202, 408, 409, 410, 412, 425, 429, 500, 502, 503, 504, 507, 599),
    Dead: (301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 413, 415, 422, 499, 501),
}
ROWS = [(status, kind) for kind, statuses in UPDATES.items() for status in statuses]
WRITES_OF_A_DELIVERY = 6


@pytest.mark.parametrize(("status", "kind"), ROWS)
def test_status_of_an_update(
    ehr: StandInEhr, client: FhirClient, status: int, kind: type[Retry] | type[Dead]
) -> None:
    """A status that stays ends as the table says, and leaves the resource as it was (H-01)."""
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
