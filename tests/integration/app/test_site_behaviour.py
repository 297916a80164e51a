"""What a site does beyond one study of one channel, on SQLite and PostgreSQL."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from pydicom import dcmread

from intu_fhir.app import serving
from intu_fhir.app.importing import import_paths
from intu_fhir.app.library import running_site as run_folder
from intu_fhir.app.previewing import preview_study
from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.cli.main import run
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.tables import deliveries, generations, holds
from intu_fhir.pipeline.replay import ReplaySelection, replay
from intu_fhir.settings.load import load_configuration
from tests.support.ports import free_port
from tests.support.running import running_site
from tests.support.site_folder import write_site
from tests.support.studies import data_set_bytes, make_instance, make_study, uid, write_study
from tests.support.waiting import wait_until


def test_leftovers_that_cannot_be_looked_at_keep_no_receiver_from_starting(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A folder of the last run that the disk does not give is named; the site takes images."""
    gone = OSError(errno.EIO, os.strerror(errno.EIO))
    with (
        patch.object(serving, "recover", side_effect=gone),
        running_site(tmp_path, migrated_database_url) as running,
    ):
        assert [answer.status for answer in running.send([make_instance()])] == ["0000"]


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
        assert f"stands in study {first.StudyInstanceUID} as well" in hold.detail
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
    tmp_path: Path, migrated_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What preview shows of a changed mapping, replay --rebuild sends, as the next version."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study())
        running.rest()
        mapping = tmp_path / "own.yaml"
        text = 'extends: shipped\nversion: "own"\nstudy:\n  description: leave_out\n'
        mapping.write_text(text)
        ask = ["preview", uid("study"), "--mapping", str(mapping), "--diff"]
        assert run([*ask, "--config", str(tmp_path)]) == 0
        changed = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "+-"]
        assert [line.split(":")[0] for line in changed[2:]] == ['-  "description"']
        running.use_mapping(text)
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


def test_an_attribute_wanted_later_is_found_in_older_studies(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """What a mapping adds is taken from headers that came before it, by preview and by rebuild."""
    wanted = {"MagneticFieldStrength": "3", "AcquisitionComments": "first try", "ScanOptions": "A"}
    private = make_instance(number=2, **wanted)
    private.add_new(0x00190010, "LO", "MAKER 1.0")
    private.add_new(0x00191023, "LO", "coil 7")
    with running_site(tmp_path, migrated_database_url) as running:
        running.send([make_instance(number=1, **wanted), private])
        running.rest()
        mapping = (
            "extends: shipped\n"
            "attributes:\n"
            "  series: [MagneticFieldStrength, '0019xx23:MAKER 1.0']\n"
            "  instance: [AcquisitionComments]\n"
            "series:\n"
            "  description: {converter: text, from: MagneticFieldStrength}\n"
            "  extension:\n"
            "    converter: extension\n"
            "    url: https://hospital.example.org/coil\n"
            "    from: '0019xx23:MAKER 1.0'\n"
            "instance:\n"
            "  title: {converter: text, from: AcquisitionComments}\n"
        )
        tried = tmp_path / "tried.yaml"
        tried.write_text(mapping)
        shown = preview_study(running.site.app, uid("study"), release="r4", mapping=tried)
        assert shown is not None
        assert shown.built.resource is not None
        running.use_mapping(mapping)
        app = running.site.app
        replay(app.database, app.clock, ReplaySelection(ReplayFilter(), rebuild=True))
        wait_until(lambda: running.imaging_studies()[0]["meta"]["versionId"] == "2")
        for resource in (shown.built.resource, running.imaging_studies()[0]):
            [series] = resource["series"]
            assert series["description"] == "3"
            assert series["extension"][0]["valueString"] == "coil 7"
            assert {one["title"] for one in series["instance"]} == {"first try"}
        running.rest()
        running.send([make_instance(number=3, **wanted)])
        running.rest(generation=2)
        titles = [i["title"] for i in running.imaging_studies()[0]["series"][0]["instance"]]
        assert titles == ["first try"] * 3


def test_a_sender_that_declares_the_wrong_character_set_is_read_rightly(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """What the site says of a sender's text counts in rows, headers and the resource."""
    right = make_instance(SpecificCharacterSet="ISO_IR 192", StudyDescription="Schädel")
    body = data_set_bytes(right).replace(b"ISO_IR 192", b"ISO_IR 100")
    wrong = dcmread(BytesIO(body), force=True)
    receiver = {"character_sets": {"CT1": "ISO_IR 192"}}
    with running_site(tmp_path, migrated_database_url, receiver=receiver) as running:
        running.send([wrong], calling="CT1")
        running.rest()
        [study] = running.studies()
        assert study.study_description == "Schädel"
        assert running.imaging_studies()[0]["description"] == "Schädel"


def test_an_invalid_study_is_held_until_the_mapping_is_mended(
    tmp_path: Path, migrated_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error keeps a study back, the command line says why, a mended mapping sends it."""
    wrong = "extends: shipped\nstudy:\n  status: {converter: fixed, value: final}\n"
    (tmp_path / "own.yaml").write_text(wrong)
    mapping = {"mapping": str(tmp_path / "own.yaml")}
    with running_site(tmp_path, migrated_database_url, channel=mapping) as running:
        running.send([make_instance()])
        [row] = running.rest()
        assert row.state == "held"
        assert running.ehr.resources() == []
        assert run(["holds", "list", "--config", str(tmp_path)]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "invalid_resource" in out
        assert f"`intu-fhir replay --rebuild --study {uid('study')}`" in out
        run(["study", "--config", str(tmp_path), uid("study")])
        assert "S08" in capsys.readouterr().out
        running.use_mapping("extends: shipped\n")
        app = running.site.app
        replay(app.database, app.clock, ReplaySelection(ReplayFilter(), rebuild=True))
        wait_until(lambda: running.studies()[0].state == "delivered")
        assert [one["status"] for one in running.imaging_studies()] == ["available"]
        run(["holds", "list", "--config", str(tmp_path)])
        assert "invalid_resource" not in capsys.readouterr().out


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
