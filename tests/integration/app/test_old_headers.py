"""Studies whose complete headers were removed: late images, other mappings, answers to viewers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml

from intu_fhir.app.importing import import_paths
from intu_fhir.cli.main import run
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import headers, holds, instances
from intu_fhir.pipeline.replay import ReplaySelection, replay
from tests.support.images import PATH, serving_images, texts, write_all
from tests.support.old_headers import end_part, make_spans_small, remove_all, settle
from tests.support.rejections import rejection_note
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until
from tests.support.web import Served

MAPPING = (
    "extends: shipped\n"
    "attributes:\n"
    "  series: [AcquisitionComments]\n"
    "series:\n"
    "  description: {converter: text, from: AcquisitionComments}\n"
)
"""Wants an attribute that was not staged before."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_spans_small(monkeypatch)


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


def _want_more(running: Running) -> None:
    """Give the channel a mapping that wants what was not staged, and start anew."""
    (running.folder / "own.yaml").write_text(MAPPING)
    place = running.folder / "channels" / "radiology" / "channel.yaml"
    channel = yaml.safe_load(place.read_text())
    place.write_text(yaml.safe_dump({**channel, "mapping": str(running.folder / "own.yaml")}))
    running.restart()


def _rebuild(running: Running) -> None:
    app, only = running.site.app, ReplayFilter(study_instance_uid=uid("study"))
    assert replay(app.database, app.clock, ReplaySelection(only, rebuild=True)).studies == 1


def test_another_mapping_reads_the_files(tmp_path: Path, migrated_database_url: str) -> None:
    """What a mapping wants later is read from files where the headers are gone."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study(AcquisitionComments="first try"))
        running.rest()
        _lose_headers(running)
        _want_more(running)
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
        _want_more(running)
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
        chore = running.site.working.scheduled_headers()
        assert chore is not None
        assert chore.remove_some() == 0
        assert len(running.rows(headers)) == 6


def _get(served: Served, path: str) -> httpx.Response:
    with served.client() as client:
        return client.get(PATH + path, headers={"accept": "application/dicom+json"})


def test_viewers_are_told_what_is_gone(tmp_path: Path, migrated_database_url: str) -> None:
    """Metadata comes from files as it was, then not at all; rejected images stay hidden."""
    note = rejection_note("113001", uid("study", 1, 1))
    data = [*make_study(series=2, instances=2), note]
    study = f"/studies/{uid('study')}"
    files = write_all(tmp_path / "in", [*data, make_instance("behind")])
    with serving_images(tmp_path / "site", migrated_database_url, files[:-1]) as served:
        before, found = _get(served, f"{study}/metadata"), _get(served, f"{study}/instances")
        assert (before.status_code, len(before.json())) == (200, 3)
        settle(served.app.database)
        end_part(served.app.database)
        import_paths(served.app, files[-1:])
        remove_all(served.app.database)
        again = _get(served, f"{study}/metadata")
        assert (again.status_code, again.json()) == (200, before.json())
        now = _get(served, f"{study}/instances")
        assert "Of 3 results no complete header is staged" in now.headers["warning"]
        assert _uids(now) == _uids(found)
        assert len(_uids(now)) == 3
        _prune(served, instances.c.sop_instance_uid == uid("study", 1, 2))
        some = _get(served, f"{study}/metadata")
        assert (some.status_code, len(some.json())) == (206, 2)
        assert "1 instances are left out" in some.headers["warning"]
        _prune(served, sa.true())
        nothing = _get(served, f"{study}/metadata")
        assert nothing.status_code == 410
        assert "removed by retention" in nothing.text


def _prune(served: Served, which: sa.ColumnElement[bool]) -> None:
    with served.app.database.write() as connection:
        gone = sa.update(instances).values(pruned_at=served.app.clock.now())
        connection.execute(gone.where(which))


def _uids(answer: httpx.Response) -> set[str]:
    return {texts(one, "00080018")[0] for one in answer.json()}
