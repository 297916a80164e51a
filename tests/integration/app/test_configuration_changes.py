"""The configuration changes while studies wait."""

from __future__ import annotations

from pathlib import Path

import yaml

from intu_fhir.db.failures import causes
from intu_fhir.db.studies import request_settling
from tests.support.running import Running, running_site
from tests.support.studies import make_instance, uid
from tests.support.waiting import wait_until


def _rename_channel(running: Running, name: str) -> None:
    """Give the only channel another name, and start anew."""
    place = running.folder / "channels" / "radiology" / "channel.yaml"
    channel = yaml.safe_load(place.read_text())
    place.write_text(yaml.safe_dump({**channel, "id": name}))
    running.restart()


def test_a_channel_that_is_gone_while_its_studies_wait(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A study of a channel that a worker does not know fails and says so; it is not forgotten."""
    channel = {"settle": {"quiet_seconds": 1_000, "on_release": False}}
    retry = {"first_seconds": 0.1, "max_seconds": 0.5, "max_attempts": 1_000}
    with running_site(tmp_path, migrated_database_url, channel=channel, retry=retry) as running:
        running.send([make_instance()])
        _rename_channel(running, "imaging")
        app = running.site.app
        with app.database.write() as connection:
            assert request_settling(connection, uid("study"), by="jo", now=app.clock.now())

        def failing() -> list[str]:
            with running.site.app.database.read() as connection:
                return [f"{one.step}: {one.example}" for one in causes(connection)]

        [cause] = wait_until(failing)
        assert cause.startswith("build: It came through radiology, and ")
        _rename_channel(running, "radiology")
        wait_until(lambda: running.studies()[0].state == "delivered")
        assert len(running.imaging_studies()) == len(running.pacs.instances) == 1
