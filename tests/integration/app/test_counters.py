"""What is counted for alerts is there from the start: what begins at 1 has not risen."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import REGISTRY

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.model.instance import Disposition
from intu_fhir.receive import statuses
from intu_fhir.receive.dimse import SUCCESS, Answer
from intu_fhir.settings.load import load_configuration
from tests.support.ports import free_port
from tests.support.site_folder import write_site


def test_counters_of_alerts_begin_at_zero(tmp_path: Path, migrated_database_url: str) -> None:
    """Each status of a channel and each end of a promise is told before the first of them."""
    pacs = {
        "type": "dicom",
        "host": "127.0.0.1",
        "port": free_port(),
        "called_ae_title": "PACS",
        "commitment": {},
    }
    write_site(
        tmp_path,
        database=migrated_database_url,
        port=free_port(),
        destinations={"counted_pacs": pacs},
        channel={"id": "counted"},
    )
    site = Site(open_app(load_configuration(tmp_path)))
    try:
        site.start()
        expected = {
            ("intu_receive_refusals_total", "channel", "counted", "status"): ["0110", "A700"],
            ("intu_receive_objects_total", "channel", "counted", "as"): [*Disposition],
            ("intu_commitments_total", "destination", "counted_pacs", "outcome"): [
                "committed",
                "failed",
                "unanswered",
                "rejected",
                "given_up",
            ],
        }
        for (name, key, one, label), values in expected.items():
            for value in values:
                assert REGISTRY.get_sample_value(name, {key: one, label: value}) == 0, value
    finally:
        site.stop()


def test_every_failure_that_is_answered_is_known() -> None:
    """Each answer of the table but success has a counter that is there beforehand."""
    named = [one for one in vars(statuses).values() if isinstance(one, Answer)]
    assert {one.status for one in named if one != SUCCESS} <= statuses.FAILURES
    assert statuses.answer_to_error(Exception()).status in statuses.FAILURES
    assert SUCCESS.status not in statuses.FAILURES
