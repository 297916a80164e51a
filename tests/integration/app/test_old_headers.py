"""Studies whose complete headers were removed: late images, other mappings, builds meanwhile."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.cli.main import run
from intu_fhir.db.old_headers import without_header
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import headers, holds, instances
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.work import Claim
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.old_headers import end_part, remove_all
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("small_spans")

MAPPING = (
    "extends: shipped\n"
    "attributes:\n"
    "  series: [AcquisitionComments]\n"
    "series:\n"
    "  description: {converter: text, from: AcquisitionComments}\n"
)
"""Wants an attribute that was not staged before."""


def _lose_headers(running: Running) -> None:
    """Let all instances but one of another study lose their complete headers."""
    number = len(running.rows(headers))
    end_part(running.site.app.database)
    running.send([make_instance("behind")])
    running.rest()
    remove_all(running.site.app.database)
    assert len(running.rows(headers)) == 1
    assert len(running.rows(instances)) == number + 1


def _prune_files(running: Running) -> None:
    config = ["--config", str(running.folder)]
    assert run(["prune", *config, "--older-than", "0", "--yes"]) == 0


def _study(running: Running) -> dict[str, Any]:
    """Return the study of the test as the EHR has it."""
    wanted = f"urn:oid:{uid('study')}"
    [found] = [
        one
        for one in running.imaging_studies()
        if wanted in [identifier["value"] for identifier in one["identifier"]]
    ]
    return found


def test_a_late_image_comes_to_a_complete_study(tmp_path: Path, migrated_database_url: str) -> None:
    """After headers and files are gone the next version has all series, as if they were there."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study())
        running.rest()
        first = _study(running)
        _lose_headers(running)
        _prune_files(running)
        running.send([make_instance("study", 3, 1)])
        wait_until(lambda: _study(running)["meta"]["versionId"] == "2")
        late = _study(running)
    assert (late["numberOfSeries"], late["numberOfInstances"]) == (3, 7)
    old = [one for one in late["series"] if one["uid"] != uid("study", 3)]
    assert old == first["series"]
    same = ("subject", "started", "description", "identifier", "referrer")
    assert {k: late.get(k) for k in same} == {k: first.get(k) for k in same}


def _rebuild(running: Running) -> None:
    app, only = running.site.app, ReplayFilter(study_instance_uid=uid("study"))
    assert replay(app.database, app.clock, ReplaySelection(only, rebuild=True)).studies == 1


def test_another_mapping_reads_the_files(tmp_path: Path, migrated_database_url: str) -> None:
    """What a mapping wants later is read from files where the headers are gone."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study(AcquisitionComments="first try"))
        running.rest()
        _lose_headers(running)
        running.use_mapping(MAPPING)
        _rebuild(running)
        wait_until(lambda: _study(running)["meta"]["versionId"] == "2")
        assert {one["description"] for one in _study(running)["series"]} == {"first try"}


def test_where_files_are_gone_as_well_nothing_wrong_is_sent(
    tmp_path: Path, migrated_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study is held and says why; when the images come again it is built as it should be."""
    sent = list(make_study(series=1, instances=2, AcquisitionComments="first try"))
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(sent)
        running.rest()
        _lose_headers(running)
        _prune_files(running)
        running.use_mapping(MAPPING)
        _rebuild(running)
        [hold] = wait_until(lambda: running.rows(holds))
        assert "header_removed" in hold.detail
        assert _study(running)["meta"]["versionId"] == "1"
        assert run(["study", uid("study"), "--config", str(tmp_path)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "complete headers of 2 instances removed by retention" in said
        assert "their complete headers were removed by retention and their files are gone" in said
        running.send(sent)
        _rebuild(running)
        wait_until(lambda: _study(running)["meta"]["versionId"] == "2")
        assert [one["description"] for one in _study(running)["series"]] == ["first try"]


def test_the_command_shows_and_removes(
    tmp_path: Path, migrated_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run names what would go and leaves it; then it goes, by the name of who asked."""
    ask = ["prune-headers", "--config", str(tmp_path), "--older-than", "0"]
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study())
        running.rest()
        end_part(running.site.app.database)
        running.send([make_instance("behind")])
        running.rest()
        capsys.readouterr()
        assert run([*ask, "--dry-run"]) == 0
        assert "6 complete headers" in capsys.readouterr().out
        assert len(running.rows(headers)) == 7
        assert run([*ask, "--yes", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"headers": 6, "ranges_kept": 0}
        assert len(running.rows(headers)) == 1


def test_a_site_removes_by_its_own_rule(tmp_path: Path, migrated_database_url: str) -> None:
    """``retention.headers_days`` lets serve do it, and only with what is old enough."""
    with running_site(tmp_path, migrated_database_url, retention={"headers_days": 1}) as running:
        running.send(make_study())
        running.rest()
        assert running.site.working is not None
        [chore] = running.site.working.scheduled_removals().values()
        assert chore.remove_some() == 0
        assert len(running.rows(headers)) == 6


def test_a_build_finds_what_its_snapshot_began_with(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Headers wait for a build that may read them: an emptied part is empty for it as well."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study())
        running.rest()
        app, working = running.site.app, running.site.working
        end_part(app.database)
        running.send([make_instance("behind")])
        running.rest()
        assert working is not None
        seen: list[int] = []

        def load(connection: Any, study_key: int, _generation: int) -> tuple[Any, int]:
            connection.execute(sa.select(instances.c.instance_key)).all()
            with contextlib.suppress(StoreUnavailable):
                remove_all(app.database)
            seen.append(without_header(connection, study_key))
            return None, -1  # as where more of the study has come: nothing is built

        now = app.clock.now()
        claim = Claim(1, 1, uid("study"), "build", "", 1, 0, now, 0, 1, "test", now)
        replace(working.build, load_study=load)(claim)
    assert seen == [0]
