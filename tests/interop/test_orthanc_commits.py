"""Orthanc, a PACS that sites use, promises to keep what it was sent (battery P-05)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.tables import archive_commitments, deliveries, instance_deliveries
from tests.support.ports import free_port
from tests.support.real_pacs import RealPacs, real_pacs
from tests.support.running import Running, running_site
from tests.support.studies import make_study
from tests.support.waiting import wait_until


@contextmanager
def site_before_orthanc(folder: Path, database: str) -> Iterator[tuple[Running, RealPacs]]:
    """Run a site that sends to Orthanc and asks it, and Orthanc with the site's port."""
    answers_to = free_port()
    modality = {"AET": "INTU_SCU", "Host": "127.0.0.1", "Port": answers_to, "Timeout": 20}
    modality |= {"AllowStorageCommitment": True}
    settings = {"DicomModalities": {"intu": modality}}
    with real_pacs("orthanc", folder / "orthanc", settings=settings) as orthanc:
        to = {"port": orthanc.port, "commitment": {"awaited": True, "wait_seconds": 0.2}}
        with running_site(
            folder / "site",
            database,
            pacs_at=to,
            ehr={"after": ["pacs"]},
            port=answers_to,
        ) as site:
            yield site, orthanc


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()


def row(site: Running, name: str = "pacs") -> Any:
    """Return the delivery of the one study to a destination."""
    return next((one for one in site.rows(deliveries) if one.destination == name), None)


def test_orthanc_promises_a_study(tmp_path: Path, migrated_database_url: str) -> None:
    """P-05: Orthanc answers on an association of its own; only then the EHR hears of the study."""
    with site_before_orthanc(tmp_path, migrated_database_url) as (site, orthanc):
        site.send(make_study(series=2, instances=5))
        ehr = wait_until(lambda: (one := row(site, "ehr")) and one.delivered_at and one)
        assert len(site.imaging_studies()) == 1
        (asked,) = site.rows(archive_commitments)
        assert (asked.state, asked.number_of_instances, asked.failed) == ("committed", 10, 0)
        assert row(site).commitment == "committed"
        assert ehr.delivered_at >= row(site).committed_at
        assert len(orthanc.sop_instance_uids()) == 10


def test_orthanc_has_lost_an_instance(tmp_path: Path, migrated_database_url: str) -> None:
    """P-05: what somebody deleted at Orthanc is refused, sent again and promised."""
    with site_before_orthanc(tmp_path, migrated_database_url) as (site, orthanc):
        site.send(make_study(series=1, instances=3))
        wait_until(lambda: row(site) and row(site).commitment == "committed")
        (lost, *_) = orthanc.ask("/instances")
        orthanc.delete(f"/instances/{lost}")
        assert len(orthanc.sop_instance_uids()) == 2
        ask_anew(site)
        wait_until(lambda: len(orthanc.sop_instance_uids()) == 3)
        wait_until(lambda: row(site).commitment == "committed" and row(site).state == "delivered")
        states = [(one.state, one.failed) for one in site.rows(archive_commitments)]
        assert sorted(states) == [("committed", 0), ("committed", 0), ("failed", 1)]


def ask_anew(site: Running) -> None:
    """Forget that Orthanc has promised anything, and look again, as after a restore from backup."""
    with site.site.app.database.write() as connection:
        connection.execute(instance_deliveries.update().values(committed_at=None))
        connection.execute(
            deliveries.update()
            .where(deliveries.c.destination == "pacs")
            .values(state="waiting", due_at=site.site.app.clock.now())
        )
