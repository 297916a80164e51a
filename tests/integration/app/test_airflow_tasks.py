"""What the tasks of Airflow do, called as Airflow calls them, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.app import airflow
from intu_fhir.db.tables import associations, audit_events, deliveries, instances, studies
from intu_fhir.errors import ConfigurationError
from tests.support.waiting import wait_until
from tests.support.worked_site import EHR, PACS, WorkedSite, worked_site

_RUN = SimpleNamespace(triggering_user_name="alice", run_id="manual__1")


@pytest.fixture
def site(tmp_path: Path, migrated_database_url: str) -> Iterator[WorkedSite]:
    """A site with three studies and nobody to work for it; files go after a day."""
    with worked_site(tmp_path, migrated_database_url, retention={"after_days": 1}) as site:
        site.stage(3)
        yield site


def _drain(site: WorkedSite, kind: str, destination: str = "", seconds: float = 1.5) -> None:
    airflow.drain(str(site.folder), kind, destination, seconds=seconds, grace_seconds=10)


def _all_delivered(site: WorkedSite) -> bool:
    for kind, destination in (("prepare", ""), ("deliver", EHR), ("deliver", PACS)):
        _drain(site, kind, destination)
    return site.delivered() == 6


def test_each_task_does_its_share(site: WorkedSite) -> None:
    """One prepares, one delivers to each destination; none does what is another's."""
    _drain(site, "deliver", EHR, seconds=0.2)
    assert site.delivered() == 0
    wait_until(lambda: _drain(site, "prepare") or _has_rows(site), 60, "deliveries")
    assert site.delivered() == 0
    _drain(site, "deliver", PACS)
    assert site.ehr.resources("ImagingStudy") == []
    wait_until(lambda: _all_delivered(site), 60, "all delivered")
    assert site.faults() == []
    assert site.leases() == 0


def _has_rows(site: WorkedSite) -> bool:
    with site.app.database.read() as connection:
        found = connection.execute(sa.text("SELECT count(*) FROM deliveries")).scalar_one()
    return int(found) == 6


def test_a_destination_that_is_gone_is_said(site: WorkedSite) -> None:
    """The task fails with the reason; the DAG goes when the configuration is read again."""
    with pytest.raises(ConfigurationError, match="gone is no destination"):
        _drain(site, "deliver", "gone")


def test_old_files_are_pruned(site: WorkedSite) -> None:
    """The task ends when all is removed that the rule of the site names."""
    wait_until(lambda: _all_delivered(site), 60, "all delivered")
    long_ago = site.app.clock.now() - timedelta(days=3)
    with site.app.database.write() as connection:
        connection.execute(sa.update(studies).values(last_received_at=long_ago))
        connection.execute(sa.update(deliveries).values(delivered_at=long_ago))
        connection.execute(sa.update(associations).values(ended_at=long_ago))
    airflow.prune(str(site.folder))
    with site.app.database.read() as connection:
        kept = sa.select(sa.func.count()).where(instances.c.pruned_at.is_(None))
        assert connection.execute(kept).scalar_one() == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_replay_says_what_it_did_and_who_asked(site: WorkedSite, dry_run: bool) -> None:
    """Counts for Airflow's page, one line in the audit trail, sealed; a dry run leaves no trace."""
    wait_until(lambda: _all_delivered(site), 60, "all delivered")
    form: dict[str, Any] = {"destination": PACS, "states": ["delivered"], "force": True}
    done = airflow.replay(
        str(site.folder), dag_run=_RUN, params={**form, "dry_run": dry_run, "reason": "test"}
    )
    assert (done["deliveries"], done["dry_run"]) == (3, dry_run)
    with site.app.database.read() as connection:
        query = sa.select(audit_events).where(audit_events.c.action == "replayed")
        events = list(connection.execute(query))
    assert [(e.actor, e.reason, e.position is None) for e in events] == (
        [] if dry_run else [("alice", "test (Airflow run manual__1)", False)]
    )


def test_a_rebuild_takes_the_studies_of_its_day(site: WorkedSite) -> None:
    """The interval of the run says which; a run without one is refused."""
    wait_until(lambda: _all_delivered(site), 60, "all delivered")
    now, day = site.app.clock.now(), timedelta(days=1)
    for begin, studies_of_it in ((now - day, 3), (now - 2 * day, 0)):
        done = airflow.rebuild(
            str(site.folder),
            dag_run=_RUN,
            data_interval_start=begin,
            data_interval_end=begin + day,
        )
        assert done["studies"] == studies_of_it
    with pytest.raises(ConfigurationError, match="no day"):
        airflow.rebuild(str(site.folder), dag_run=_RUN)
