"""What every engine keeps to, whoever starts its processes: one suite for all of them.

Processes are real, and so are their deaths. The engine may lose, repeat and double its work; what
is delivered is delivered once, and nothing stays behind.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from intu_fhir.demo.ehr import Fault
from tests.support.engines import AirflowDags, EngineAtWork, LocalWorkers
from tests.support.waiting import wait_until
from tests.support.worked_site import EHR, LEASE_SECONDS, WorkedSite, worked_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GROUNDS = (("local", "sqlite"), ("local", "postgresql"), ("airflow", "postgresql"))
_SLOW = Fault(delay=0.8)


@pytest.fixture(params=GROUNDS, ids="-".join)
def engine_kind(request: pytest.FixtureRequest) -> str:
    """``local``, then ``airflow``."""
    kind: str = request.param[0]
    return kind


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """The database that goes with the engine."""
    request.getfixturevalue("engine_kind")
    kind: str = request.node.callspec.params["engine_kind"][1]
    return kind


@pytest.fixture
def site(tmp_path: Path, migrated_database_url: str) -> Iterator[WorkedSite]:
    """A site with nobody to work for it."""
    with worked_site(tmp_path, migrated_database_url) as site:
        yield site


@pytest.fixture
def engine(
    engine_kind: str, site: WorkedSite, request: pytest.FixtureRequest
) -> Iterator[EngineAtWork]:
    """An engine of the site, not started."""
    if engine_kind == "local":
        local = LocalWorkers(site.folder)
        yield local
        local.stop()
        return
    name = f"c{abs(hash(request.node.name)) % 10**6}_"
    slots = {EHR: 2} if "killed" in request.node.name else {}  # where one dies, another is alive
    dags = AirflowDags(request.getfixturevalue("airflow"), site.folder, name, slots=slots)
    yield dags
    dags.stop()
    dags.remove()


def test_what_is_due_and_what_comes_later_is_delivered_once(
    engine: EngineAtWork, site: WorkedSite
) -> None:
    """Start and drain: staged studies go out, later ones too; then nobody holds anything."""
    site.stage(20)
    engine.start()
    site.wait()
    site.stage(10)
    site.wait()
    assert site.faults() == []
    assert site.sent_again() == 0
    assert site.leases() == 0


def test_a_stop_in_the_middle_leaves_the_rest_for_the_next_start(
    engine: EngineAtWork, site: WorkedSite
) -> None:
    """Stop: what is in hand is finished, no lease is left, and nothing more goes out."""
    site.ehr.fail_next(*[_SLOW] * 60)
    site.stage(60)
    engine.start()
    wait_until(lambda: site.ehr.resources("ImagingStudy"), 240, "the first at the EHR")
    engine.stop()
    done = site.delivered()
    assert site.leases() == 0
    assert done < 2 * len(site.sent)
    assert [one for one in site.faults() if "lost" not in one] == []
    site.ehr.fail_no_more()  # slow only so that the stop comes in the middle
    engine.start()
    site.wait()
    assert site.faults() == []
    assert site.sent_again() == 0


def test_what_a_killed_worker_had_is_done_within_the_lease(
    engine: EngineAtWork, site: WorkedSite
) -> None:
    """Crash: others go on, and take over after the lease, not after a time-out of the engine."""
    site.ehr.fail_next(*[_SLOW] * 8)
    site.stage(30)
    engine.start()
    wait_until(lambda: site.kill_a_holder(random.Random(1)), 240, "somebody at work")
    killed_at = time.monotonic()
    site.wait()
    assert time.monotonic() - killed_at < LEASE_SECONDS + 40
    assert site.faults() == []


def test_twice_at_once_does_nothing_twice(engine: EngineAtWork, site: WorkedSite) -> None:
    """Duplicate start: two engines on one site share the work, within the limits of each side."""
    site.ehr.fail_next(*[Fault(delay=0.3)] * 20)
    site.stage(40)
    engine.start()
    engine.start()
    site.wait()
    assert site.faults() == []
    assert site.sent_again() == 0
