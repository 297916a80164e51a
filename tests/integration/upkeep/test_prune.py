"""Old studies lose their image files, and nothing else; never one that is still needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.uid import CTImageStorage

from intu_fhir.cli.main import run
from intu_fhir.db.commitment_requests import store_request
from intu_fhir.db.tables import (
    audit_events,
    headers,
    instances,
    removals,
    resources,
    storage_commitments,
)
from intu_fhir.demo.ehr import Fault
from intu_fhir.model.commitment import (
    ASKED,
    CHECKED,
    REPORTED,
    CommitmentAsked,
    ReferencedInstance,
)
from intu_fhir.model.instance import Origin
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study
from tests.support.waiting import wait_until


def _files(running: Running) -> list[Path]:
    place = running.folder / "files" / "instances"
    return sorted(path for path in place.rglob("*") if path.is_file())


def _prune(running: Running, *options: str) -> int:
    return run(["prune", "--config", str(running.folder), "--older-than", "0", "--yes", *options])


def test_a_delivered_study_loses_its_files_and_keeps_what_is_known(published: Running) -> None:
    """Files go; rows, headers, published versions and the EHR's resource stay, and say so."""
    assert len(_files(published)) == 4
    assert _prune(published) == 0
    assert _files(published) == []
    rows = published.rows(instances)
    assert len(rows) == len(published.rows(headers)) == 4
    assert all(row.pruned_at is not None for row in rows)
    assert len(published.rows(resources)) == 1
    assert published.imaging_studies()[0]["meta"]["versionId"] == "1"
    [event] = [row for row in published.rows(audit_events) if row.action == "deleted"]
    assert (event.actor_kind, event.objects) == ("person", 4)


def test_what_cannot_be_removed_keeps_nothing_else(
    published: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file that has to stay is told, stays written down, and goes when it may."""
    first, *others = _files(published)
    first.rename(first.with_suffix(".away"))
    first.mkdir()  # not even root removes a folder as a file
    assert _prune(published) == 1
    assert "stay for now: 1" in capsys.readouterr().err
    assert not any(path.exists() for path in others)
    [left] = published.rows(removals)
    assert left.file.endswith(first.name)
    first.rmdir()
    assert _prune(published) == 0
    assert published.rows(removals) == []


def test_a_disk_that_removes_nothing_is_asked_no_more(
    published: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """After three files in a row it is the disk; all stay written down."""
    for path in _files(published):
        path.unlink()
        path.mkdir()
    assert _prune(published) == 1
    assert "stay for now: 3" in capsys.readouterr().err
    assert len(published.rows(removals)) == 4


def test_dry_run_removes_nothing(published: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run names what would go and leaves it."""
    assert _prune(published, "--dry-run") == 0
    assert "1 studies (4 images" in capsys.readouterr().out
    assert len(_files(published)) == 4


def test_the_answer_is_json_alone(published: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """What went is told as JSON, without a line of the log before it."""
    capsys.readouterr()
    assert _prune(published, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"studies": 1, "images": 4, "files_removed": 4}


def test_nothing_goes_before_its_time(published: Running) -> None:
    """A study that is younger than the rule says stays."""
    assert run(["prune", "--config", str(published.folder), "--older-than", "1", "--yes"]) == 0
    assert len(_files(published)) == 4


def test_what_is_sent_again_after_pruning_is_kept_again(published: Running) -> None:
    """Success promises that the image is here: a pruned one is stored anew, and published once."""
    _prune(published)
    [answer] = published.send([make_instance(series=1, number=1)])
    assert answer.status == "0000"
    published.rest()
    assert len(_files(published)) == 1
    assert sum(row.pruned_at is None for row in published.rows(instances)) == 1
    assert published.imaging_studies()[0]["meta"]["versionId"] == "1"


def test_what_is_not_delivered_stays(tmp_path: Path, migrated_database_url: str) -> None:
    """While a destination lacks a study none of its files goes, whatever the age."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.ehr.fail_next(*[Fault(status=422)] * 5)
        running.send(make_study())
        wait_until(lambda: running.studies()[0].state == "failed")
        assert _prune(running) == 0
        assert len(_files(running)) == 6


@pytest.mark.parametrize("state", [ASKED, CHECKED])
def test_what_a_requester_was_not_told_of_stays(published: Running, state: str) -> None:
    """Between the look and the result, too, the file is what the result says: it is there."""
    app = published.site.app
    wanted = ReferencedInstance(CTImageStorage, published.rows(instances)[0].sop_instance_uid)
    asking = Origin("asking", "radiology", "", "AWAY", "INTU_TEST")
    asked, now = CommitmentAsked("1.2.3", (wanted,)), app.clock.now()
    with app.database.write() as connection:
        store_request(connection, asking, asked, now, receiver="here")
    wait_until(lambda: [row.state for row in published.rows(storage_commitments)] == [CHECKED])
    for becomes, left in ((state, 4), (REPORTED, 0)):
        with app.database.write() as connection:
            connection.execute(sa.update(storage_commitments).values(state=becomes, due_at=None))
        assert _prune(published) == 0
        assert len(_files(published)) == left


def test_a_held_study_stays(tmp_path: Path, migrated_database_url: str) -> None:
    """A study that waits for a person keeps its files."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(number=1), make_instance(number=2, PatientID="P2")])
        running.rest()
        assert _prune(running) == 0
        assert len(_files(running)) == 2


def test_images_that_no_pacs_has_stay_unless_one_says_so(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Where no PACS confirmed an image, ours may be the only copy."""
    channel = {"destinations": ["ehr"]}
    with running_site(tmp_path, migrated_database_url, channel=channel) as running:
        running.send(make_study())
        running.rest()
        assert _prune(running) == 0
        assert len(_files(running)) == 6
        assert _prune(running, "--unforwarded") == 0
        assert _files(running) == []


def test_replaced_files_go_where_nothing_is_pruned(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A file that no row speaks of any more goes without ``retention``, and nothing else does."""
    retention: dict[str, Any] = {"every_minutes": 0.0005}
    with running_site(tmp_path, migrated_database_url, retention=retention) as running:
        running.send(make_study())
        running.rest()
        replaced = running.folder / "files" / "instances" / "replaced.dcm"
        replaced.write_bytes(b"x")
        app = running.site.app
        with app.database.write() as connection:
            name = f"instances/{replaced.name}"
            connection.execute(sa.insert(removals).values(file=name, asked_at=app.clock.now()))
        wait_until(lambda: not running.rows(removals))
        assert not replaced.exists()
        assert len(_files(running)) == 6


def test_a_site_prunes_by_its_own_rule(tmp_path: Path, migrated_database_url: str) -> None:
    """``retention`` lets serve itself remove what is old enough, and only that."""
    retention: dict[str, Any] = {"after_days": 1, "every_minutes": 0.0005}
    with running_site(tmp_path, migrated_database_url, retention=retention) as running:
        running.send(make_study())
        running.rest()
        assert running.site.working is not None
        prune = running.site.working.scheduled_prune()
        while prune.prune_some():
            pass
        assert len(_files(running)) == 6
