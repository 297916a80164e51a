"""What users of Airflow expect of it: tasks on its page, retries, pools, backfill and replay."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from intu_fhir.db.tables import audit_events, deliveries, studies
from intu_fhir.settings.load import load_configuration
from tests.support.airflow import USER, Airflow
from tests.support.engines import AirflowDags
from tests.support.waiting import wait_until
from tests.support.worked_site import EHR, PACS, WorkedSite, worked_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "north"
_SECONDS = 400.0


@pytest.fixture
def database_kind() -> str:
    """SQLite: on one machine Airflow's processes can share it."""
    return "sqlite"


@pytest.fixture
def site(tmp_path: Path, migrated_database_url: str) -> Iterator[WorkedSite]:
    """A site with nobody to work for it."""
    with worked_site(tmp_path, migrated_database_url) as site:
        yield site


@pytest.fixture
def dags(airflow: Airflow, site: WorkedSite) -> Iterator[AirflowDags]:
    """The DAGs of the site, not yet in Airflow; deliveries to the EHR have a pool."""
    airflow.post(
        "pools", {"name": "north_ehr", "slots": 8, "description": "", "include_deferred": False}
    )
    pools = {EHR: "north_ehr"}
    dags = AirflowDags(airflow, site.folder, NAME, every_seconds=60, pools=pools)
    yield dags
    dags.stop()
    dags.remove()


def _run(airflow: Airflow, dag_id: str, conf: dict[str, Any]) -> dict[str, Any]:
    """Trigger a DAG as its page does, and return its task once it has ended."""
    run = airflow.post(f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
    return wait_until(lambda: _ended(airflow, dag_id, run["dag_run_id"]), _SECONDS, dag_id)


def _ended(airflow: Airflow, dag_id: str, run_id: str) -> dict[str, Any]:
    tasks = airflow.tasks(dag_id, run_id)
    return tasks[0] if tasks and tasks[0]["state"] in {"success", "failed", "skipped"} else {}


def _audited(site: WorkedSite, action: str) -> list[Any]:
    with site.app.database.read() as connection:
        query = sa.select(audit_events).where(audit_events.c.action == action)
        return list(connection.execute(query))


def _received_days_ago(site: WorkedSite, days: int, uids: set[str]) -> None:
    """Let studies count as received on an earlier day."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    with site.app.database.write() as connection:
        connection.execute(
            sa.update(studies)
            .where(studies.c.study_instance_uid.in_(uids))
            .values(last_received_at=noon - timedelta(days=days))
        )


def _versions(site: WorkedSite) -> dict[str, int]:
    """Return how many versions the EHR has of each study."""
    return {
        one["identifier"][0]["value"].removeprefix("urn:oid:"): int(one["meta"]["versionId"])
        for one in site.ehr.resources("ImagingStudy")
    }


def test_a_site_in_airflow(airflow: Airflow, dags: AirflowDags, site: WorkedSite) -> None:
    """Its page shows the work; a killed task is tried again; backfill and replay do what they say.

    One test: Airflow takes its time to begin, and each part stands on what the one before has done.
    """
    site.stage(6)
    dags.start()
    site.wait(_SECONDS)
    _its_page_shows_the_work(airflow)
    _a_killed_task_is_tried_again(airflow)
    _replay_from_its_page(airflow, site)
    _a_wrong_predicate_fails_at_once(airflow)
    dags.stop()
    _change_the_configuration(site)
    dags.start()
    _backfill(airflow, site)


def _its_page_shows_the_work(airflow: Airflow) -> None:
    """DAGs to prepare, to prune, for each destination, two for people; tasks run in their pool."""
    assert airflow.import_errors() == []
    assert airflow.dag_ids(NAME) == [
        f"{NAME}1_{one}"
        for one in ("deliver_ehr", "deliver_pacs", "prepare", "prune", "rebuild", "replay")
    ]
    to_ehr = airflow.tasks(f"{NAME}1_deliver_ehr")
    assert {one["pool"] for one in to_ehr} == {"north_ehr"}
    assert "running" in {one["state"] for one in to_ehr}
    shown = [airflow.log(one) for one in to_ehr if one["state"] in {"running", "success"}]
    assert any('"event": "work_done"' in log for log in shown)
    assert not any("Sample^Sam" in log for log in shown)


def _a_killed_task_is_tried_again(airflow: Airflow) -> None:
    """Airflow's own retry starts a drain again whose process was killed."""
    [task, *_] = airflow.running(f"{NAME}1_prepare")
    [pid] = airflow.processes({task["id"]})
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: any(
            one["dag_run_id"] == task["dag_run_id"] and one["try_number"] == 2
            for one in airflow.tasks(task["dag_id"])
        ),
        _SECONDS,
        "a second try",
    )


def _replay_from_its_page(airflow: Airflow, site: WorkedSite) -> None:
    """What is selected is sent again, and the audit trail says by whom, why and in which run."""
    study = sorted(site.sent)[0]
    before = len(site.pacs.received)
    form = {"study": study, "destination": PACS, "states": ["delivered"], "force": True}
    task = _run(airflow, f"{NAME}1_replay", {**form, "reason": "image was lost there"})
    assert task["state"] == "success", airflow.log(task)
    wait_until(lambda: len(site.pacs.received) == before + 1, _SECONDS, "the image once more")
    [event] = _audited(site, "replayed")
    assert event.actor == USER
    assert event.reason == f"image was lost there (Airflow run {task['dag_run_id']})"
    path = f"dags/{NAME}1_replay/dagRuns/{task['dag_run_id']}/taskInstances/replay/xcomEntries"
    assert "deliveries" in str(airflow.get(f"{path}/return_value"))
    site.wait(_SECONDS)


def _a_wrong_predicate_fails_at_once(airflow: Airflow) -> None:
    """What would fail again is not tried again; the log of the task says what is wrong."""
    task = _run(airflow, f"{NAME}1_replay", {"where": "no_such_column = 1"})
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert "no_such_column" in airflow.log(task)


def _change_the_configuration(site: WorkedSite) -> None:
    """Have all studies built differently from now on, and let them have come on three days."""
    path = site.folder / "intu.yaml"
    root = yaml.safe_load(path.read_text())
    root["identifiers"] = {"accession": {"default": "https://site.example/accessions"}}
    path.write_text(yaml.safe_dump(root))
    load_configuration(site.folder)
    for days, uids in _by_days(site).items():
        _received_days_ago(site, days, uids)


def _by_days(site: WorkedSite) -> dict[int, set[str]]:
    ordered = sorted(site.sent)
    return {days: set(ordered[2 * days - 2 : 2 * days]) for days in (1, 2, 3)}


def _backfill(airflow: Airflow, site: WorkedSite) -> None:
    """The studies of the days of a range are built again; what differs goes out, nothing else."""
    two, one = (datetime.now(UTC).date() - timedelta(days=days) for days in (2, 1))
    name = f"{NAME}2_rebuild"
    wait_until(lambda: _own_run_has_ended(airflow, name), _SECONDS, "the run of yesterday")
    received = len(site.pacs.received)
    for _ in range(2):  # the second changes nothing
        _backfilled(airflow, name, f"{two}T00:00:00Z", f"{one}T00:00:00Z")
        days = _by_days(site)
        expected = {
            uid: 2 if days_ago < 3 else 1 for days_ago, uids in days.items() for uid in uids
        }
        wait_until(lambda expected=expected: _versions(site) == expected, _SECONDS, "new versions")
        wait_until(lambda: _settled(site), _SECONDS, "deliveries at rest")
    assert _versions(site) == expected
    assert len(site.pacs.received) == received
    events = _audited(site, "rebuilt")
    assert [event.objects for event in events] == [2, 2, 2, 2]
    assert all("backfill" in event.reason for event in events)


def _own_run_has_ended(airflow: Airflow, dag_id: str) -> bool:
    """Tell whether the day's own run was skipped; a backfill leaves alone what is running."""
    if dag_id not in airflow.dag_ids(dag_id):
        return False
    states = [run["state"] for run in airflow.runs(dag_id)]
    return states == ["success"]


def _backfilled(airflow: Airflow, dag_id: str, begin: str, end: str) -> None:
    """Backfill a range as its page does, whatever has run before, and wait for its end."""
    asked = {
        "dag_id": dag_id,
        "from_date": begin,
        "to_date": end,
        "run_backwards": False,
        "dag_run_conf": {},
        "reprocess_behavior": "completed",
        "max_active_runs": 1,
    }
    backfill = airflow.post("backfills", asked)
    wait_until(
        lambda: airflow.get(f"backfills/{backfill['id']}")["completed_at"], _SECONDS, "the backfill"
    )


def _settled(site: WorkedSite) -> bool:
    with site.app.database.read() as connection:
        due = sa.select(sa.func.count()).where(deliveries.c.state != "delivered")
        return connection.execute(due).scalar_one() == 0 and site.leases() == 0
