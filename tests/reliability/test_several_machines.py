"""A site on several machines, which lose each other and die, judged by what the far sides have.

Hosts are network namespaces. All tests share them; each leaves every host running and connected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydicom import dcmread

from intu_fhir.db.tables import associations, attempts, deliveries, instances, studies, uploads
from intu_fhir.model.work import DELIVERED
from intu_fhir.stage.part10 import find_data_set
from tests.support.balancer import Balancer
from tests.support.grown_site import (
    DATABASE,
    EHR,
    HOSTS,
    PACS,
    RECEIVERS,
    GrownSite,
    grown_site,
)
from tests.support.hosts import network
from tests.support.senders import SUCCESS, Journal, Sample, Samples, Sender
from tests.support.waiting import wait_until

SAMPLES = Samples()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrownSite]:
    """A site on seven hosts."""
    with (
        network(*HOSTS) as net,
        grown_site(tmp_path_factory.mktemp("grown"), net) as site,
    ):
        yield site


@pytest.fixture
def front(site: GrownSite) -> Iterator[Balancer]:
    """The one address of both receivers, which are ready."""
    with site.balancer() as balancer:
        wait_until(lambda: all(map(balancer.is_ready, RECEIVERS)), what="both receivers ready")
        yield balancer


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """What the senders of a test were answered."""
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


def study_uid(sample: Sample) -> str:
    """Return the Study Instance UID of a sample."""
    return str(dcmread(BytesIO(sample.data), force=True).StudyInstanceUID)


def send(port: int, journal: Journal, samples: Sequence[Sample]) -> list[Sample]:
    """Send objects on one association; return those that were not answered Success."""
    sender = Sender(port, journal)
    try:
        if not sender.associate():
            return list(samples)
        missing = sender.send_all(samples)
        sender.release()
        return missing
    finally:
        sender.close()


def wait_for_study(site: GrownSite, samples: Sequence[Sample]) -> str:
    """Wait until both far sides have all of a study and its bytes are in the bucket."""
    study = study_uid(samples[0])
    wanted = {one.uid for one in samples}
    wait_until(lambda: told(site, study)[-1:] == [len(wanted)], 60, "the EHR to know all of it")
    wait_until(lambda: wanted <= set(site.pacs.counts()), 60, "the PACS to have all of it")
    done = sa.and_(deliveries.c.state == DELIVERED, deliveries.c.have == deliveries.c.want)
    wait_until(lambda: not site.rows(sa.select(deliveries).where(~done)), 60, "nothing on its way")
    wait_until(lambda: not site.rows(sa.select(uploads)), 60, "an empty ledger of uploads")
    return study


def told(site: GrownSite, study: str) -> list[int]:
    """Return how many instances each version of the study's one resource spoke of."""
    resources = site.ehr.generations().get(study, [])
    assert len(resources) <= 1, "the EHR has the study twice"
    return resources[0] if resources else []


def in_bucket(site: GrownSite) -> Counter[str]:
    """Return the digests of what came over the network of all objects in the bucket."""
    found: Counter[str] = Counter()
    for content in site.store.objects().values():
        place = find_data_set(content[:4_096])
        found[sha256(content[place.offset if place else 0 :]).hexdigest()] += 1
    return found


def digests(site: GrownSite, samples: Sequence[Sample]) -> dict[str, str]:
    """Return the digest that staging has of each of these objects."""
    i = instances.c
    wanted = i.sop_instance_uid.in_([one.uid for one in samples])
    return dict(site.rows(sa.select(i.sop_instance_uid, i.sha256).where(wanted)))


def test_a_study_through_both_receivers_is_one_study(
    site: GrownSite, front: Balancer, journal: Journal
) -> None:
    """Four associations over one address, spread over two machines, make one ImagingStudy."""
    samples = [SAMPLES.make(1, number) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        parts = [samples[begin::4] for begin in range(4)]
        assert list(pool.map(lambda part: send(front.port, journal, part), parts)) == [[]] * 4
    study = wait_for_study(site, samples)
    assert sorted(front.passed().values()) == [2, 2]
    receivers = site.rows(sa.select(associations.c.receiver).distinct())
    assert sorted(row[0] for row in receivers) == list(RECEIVERS)
    one = sa.select(studies.c.study_instance_uid).where(studies.c.study_instance_uid == study)
    assert site.rows(one) == [(study,)]
    counts = site.pacs.counts()
    assert {counts[sample.uid] for sample in samples} == {1}
    versions = told(site, study)
    assert versions == sorted(set(versions)), "a generation twice, or one after a newer one"
    kept = in_bucket(site)
    assert {kept[sample.sha256] for sample in samples} == {1}


def test_a_killed_receiver_loses_nothing_acknowledged(
    site: GrownSite, front: Balancer, journal: Journal
) -> None:
    """Killed amid associations: the other takes the rest, and the spool is back with its host."""
    samples = [SAMPLES.make(2, number) for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(send, front.port, journal, samples[begin::4]) for begin in range(4)]
        wait_until(lambda: len(journal.acknowledged) >= 40, what="some answers")
        site.kill(RECEIVERS[0])
        missing = [one for part in sent for one in part.result()]
    assert missing, "the receiver was killed too late"
    acknowledged = dict(journal.acknowledged)
    kept = digests(site, samples)
    assert acknowledged.items() <= kept.items()
    wait_until(lambda: not front.is_ready(RECEIVERS[0]), what="the balancer to see it")
    before = front.passed()
    assert send(front.port, journal, missing) == []
    assert front.passed()[RECEIVERS[1]] == before[RECEIVERS[1]] + 1
    assert front.passed()[RECEIVERS[0]] == before[RECEIVERS[0]]
    site.start(RECEIVERS[0])
    study = wait_for_study(site, samples)
    assert digests(site, samples) == {one.uid: one.sha256 for one in samples}
    in_store = in_bucket(site)
    assert {in_store[sample.sha256] for sample in samples} == {1}
    assert told(site, study)[-1] == len(samples)


def test_a_worker_cut_off_from_the_database_is_fenced(
    site: GrownSite, front: Balancer, journal: Journal
) -> None:
    """Another takes its study over; when it is back, its late answer changes nothing."""
    held = site.ehr.hold_next()
    samples = [SAMPLES.make(3, number) for number in range(5)]
    study = study_uid(samples[0])
    assert send(front.port, journal, samples[:4]) == []
    assert held.reached.wait(60)
    # What the PACS has taken and nobody has noted would come to it again.
    wait_until(lambda: site.delivery(study, PACS).state == DELIVERED, 60, "the images at the PACS")
    row = site.delivery(study, EHR)
    cut = str(row.lease_holder).partition(":")[0]
    database = site.net[DATABASE]
    site.net[cut].part_from(database)
    try:
        wait_until(
            lambda: site.delivery(study, EHR).state == DELIVERED, 60, "another to take it over"
        )
        assert send(front.port, journal, samples[4:]) == []
        wait_for_study(site, samples)
        wait_until(lambda: site.asked(cut, "readyz") != httpx.codes.OK, what="its own word on it")
        assert site.asked(cut, "healthz") == httpx.codes.OK
    finally:
        site.net[cut].join(database)
    before, tried = site.delivery(study, EHR), attempts_of(site, row.delivery_key)
    held.let_go.set()
    wait_until(lambda: '"work_lost"' in site.logged(cut), 60, "its late result to be refused")
    assert site.delivery(study, EHR) == before
    assert attempts_of(site, row.delivery_key) == tried
    assert told(site, study) == [4, 5]
    # What the worker had in hand for the PACS may have come there once more.
    counts = site.pacs.counts()
    assert {counts[one.uid] for one in samples} <= {1, 2}
    wait_until(lambda: site.asked(cut, "readyz") == httpx.codes.OK, 60, "the worker to be ready")


def attempts_of(site: GrownSite, delivery: int) -> list[Any]:
    """Return the attempts of a delivery."""
    return site.rows(sa.select(attempts).where(attempts.c.delivery_key == delivery))


def test_a_receiver_cut_off_from_the_database_is_not_ready(
    site: GrownSite, front: Balancer, journal: Journal
) -> None:
    """It says so, lives on and gets no more associations until it is connected again."""
    cut, other = RECEIVERS
    site.net[cut].part_from(site.net[DATABASE])
    try:
        wait_until(lambda: not front.is_ready(cut), what="the balancer to be told")
        assert site.asked(cut, "healthz") == httpx.codes.OK
        samples = [SAMPLES.make(4, number) for number in range(4)]
        for sample in samples:
            assert send(front.port, journal, [sample]) == []
        assert front.passed() == {cut: 0, other: 4}
    finally:
        site.net[cut].join(site.net[DATABASE])
    wait_until(lambda: front.is_ready(cut), 60, "the receiver to be ready again")
    wait_for_study(site, samples)


def test_a_receiver_that_stops_is_not_ready_before_it_ends(
    site: GrownSite, front: Balancer, journal: Journal
) -> None:
    """The balancer is told while the object in hand is still being finished."""
    stopping = RECEIVERS[0]
    sample, later = SAMPLES.make(5, 1), SAMPLES.make(5, 2)
    sender = Sender(front.port, journal)
    assert sender.associate()
    if front.passed()[stopping] == 0:
        sender.release()
        sender = Sender(front.port, journal)
        assert sender.associate()
    half = sender.begin(sample)
    process = site.running[stopping]
    site.terminate(stopping)
    wait_until(lambda: not front.is_ready(stopping), what="the balancer to be told")
    assert site.asked(stopping, "readyz") == httpx.codes.SERVICE_UNAVAILABLE
    assert site.asked(stopping, "healthz") == httpx.codes.OK
    assert send(front.port, journal, [later]) == []
    assert sender.finish(sample, half) == SUCCESS
    assert process.wait(30) == 0
    sender.close()
    site.start(stopping)
    wait_for_study(site, [sample, later])
