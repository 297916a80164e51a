"""Engines that die and forget, in small: ``python -m tests.reliability.engine_kills`` at length."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.engine_kills import endure
from tests.support.airflow import Airflow
from tests.support.engines import AirflowDags, LocalWorkers
from tests.support.waiting import wait_until
from tests.support.worked_site import worked_site

LONGEST_SECONDS = 60.0
"""Killed work is taken again by then; a lease here is shorter, Airflow's own time-out longer."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_local_workers_may_die_at_any_time(tmp_path: Path, migrated_database_url: str) -> None:
    """Four workers on one site, three killed at work: nothing is lost, and nothing is doubled."""
    with worked_site(tmp_path, migrated_database_url) as site:
        site.stage(100)
        how: dict[str, Any] = {"kills": 3, "chance": random.Random(7), "seconds": 300.0}
        tally = endure(site, LocalWorkers(site.folder), late=10, **how)
    assert tally.faults == [], tally.line()
    assert tally.kills == 3
    assert tally.late(LONGEST_SECONDS) == []


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_airflow_may_lose_all_it_knows(
    airflow: Airflow, tmp_path: Path, migrated_database_url: str
) -> None:
    """Two schedulers, killed tasks, runs started twice, wiped metadata: nothing lost or doubled."""
    airflow.add_scheduler()
    wait_until(lambda: airflow.alive_schedulers() == 2, 120, "a second scheduler")
    with worked_site(tmp_path, migrated_database_url) as site:
        site.stage(100)
        dags = AirflowDags(airflow, site.folder, "forgetful")
        how: dict[str, Any] = {"kills": 3, "chance": random.Random(7), "seconds": 600.0}
        tally = endure(site, dags, wipe=airflow, late=10, **how)
        dags.remove()
    assert tally.faults == [], tally.line()
    assert (tally.kills, tally.wiped) == (3, 1)
    assert tally.late(LONGEST_SECONDS) == []
    assert airflow.alive_schedulers() == 2
