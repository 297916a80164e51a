"""What a site does beyond one study of one channel, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from intu_fhir.app.importing import import_paths
from intu_fhir.app.library import running_site as run_folder
from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import deliveries, generations, holds
from intu_fhir.pipeline.replay import ReplaySelection, replay
from intu_fhir.settings.load import load_configuration
from tests.support.ports import free_port
from tests.support.running import running_site
from tests.support.site_folder import write_site
from tests.support.studies import make_instance, make_study, write_study
from tests.support.waiting import wait_until


def test_several_channels_listen_side_by_side(tmp_path: Path, migrated_database_url: str) -> None:
    """Two enabled channels have a port each, a disabled one has none."""
    write_site(tmp_path, database=migrated_database_url, port=free_port())
    for name, enabled in (("second", True), ("off", False)):
        place = tmp_path / "channels" / name
        place.mkdir()
        source = {"type": "dicom", "host": "127.0.0.1", "port": free_port()}
        text = yaml.safe_dump({"id": name, "enabled": enabled, "source": source})
        (place / "channel.yaml").write_text(text)
    with run_folder(tmp_path) as site:
        assert len({listener.port for listener in site.listeners}) == 2


def test_a_series_in_two_studies_holds_the_later_one(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """The second study that claims a series is not published; the first one was."""
    with running_site(tmp_path, migrated_database_url) as running:
        first = make_instance(study="one")
        running.send([first])
        running.rest()
        running.send([make_instance(study="two", SeriesInstanceUID=first.SeriesInstanceUID)])
        wait_until(lambda: len(running.studies()) == 2)
        running.rest()
        [hold] = running.rows(holds)
        assert hold.reason == "series_in_two_studies"
        assert len(running.imaging_studies()) == 1


def test_the_announced_number_of_instances_settles(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Where the policy allows it, the last announced instance settles a study at once."""
    channel = {"settle": {"quiet_seconds": 3600, "on_expected_count": True}}
    with running_site(tmp_path, migrated_database_url, channel=channel) as running:
        instances = list(make_study(series=1, instances=3, NumberOfStudyRelatedInstances=3))
        running.send(instances[:2])
        wait_until(lambda: running.site.working.describer.describe_some() == 0)
        assert running.studies()[0].state == "receiving"
        running.send(instances[2:])
        running.rest()
        assert [row.evidence for row in running.rows(generations)] == ["expected_count"]


def test_a_changed_mapping_is_published_by_rebuild(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """After a change of the mapping, replay --rebuild sends what differs, as the next version."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study())
        running.rest()
        mapping = tmp_path / "own.yaml"
        mapping.write_text('extends: shipped\nversion: "own"\nstudy:\n  description: leave_out\n')
        place = tmp_path / "channels" / "radiology" / "channel.yaml"
        channel = yaml.safe_load(place.read_text())
        place.write_text(yaml.safe_dump({**channel, "mapping": str(mapping)}))
        running.restart()
        app = running.site.app
        done = replay(app.database, app.clock, ReplaySelection(ReplayFilter(), rebuild=True))
        assert done.studies == 1
        wait_until(lambda: running.imaging_studies()[0]["meta"]["versionId"] == "2")
        assert "description" not in running.imaging_studies()[0]
        assert len(running.pacs.instances) == 6
        running.rest()
        replay(app.database, app.clock, ReplaySelection(ReplayFilter(), rebuild=True))
        wait_until(lambda: all(row.state == "delivered" for row in running.rows(deliveries)))
        assert running.imaging_studies()[0]["meta"]["versionId"] == "2"


def test_an_import_is_published_like_any_other_study(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """What the batch door brings reaches EHR and PACS, and importing it twice changes nothing."""
    files = write_study(tmp_path / "disc")
    with running_site(tmp_path, migrated_database_url) as running:
        for expected in ("stored", "already_stored"):
            report = import_paths(running.site.app, [tmp_path / "disc"])
            assert {str(k): v for k, v in report.counts.items() if v} == {expected: len(files)}
        running.rest()
        assert len(running.pacs.instances) == len(files)
        assert [r["meta"]["versionId"] for r in running.imaging_studies()] == ["1"]


@pytest.mark.parametrize("roles", [{"receive"}, {"work"}])
def test_the_halves_of_a_site_run_in_processes_of_their_own(
    tmp_path: Path, migrated_database_url: str, roles: set[str]
) -> None:
    """A receiver listens without working, a worker works without listening, on one database."""
    write_site(tmp_path, database=migrated_database_url, port=free_port())
    half = Site(open_app(load_configuration(tmp_path)), roles)
    half.start()
    try:
        assert bool(half.listeners) is (roles == {"receive"})
    finally:
        half.stop()
