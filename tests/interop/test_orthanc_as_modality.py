"""Orthanc sends to us, and asks us whether what it sent is safe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.tables import instances, storage_commitments
from intu_fhir.model.commitment import REPORTED
from intu_fhir.settings.load import load_configuration
from tests.support.data import pydicom_files
from tests.support.ports import free_port
from tests.support.real_pacs import RealPacs, data_set_digest, real_pacs
from tests.support.rows import rows_of
from tests.support.site_folder import write_site
from tests.support.studies import uid, write_study
from tests.support.waiting import wait_until


@contextmanager
def orthanc_before_a_site(
    folder: Path, database: str, **orthanc: Any
) -> Iterator[tuple[RealPacs, Site]]:
    """Run Orthanc with our site among its modalities, and the site."""
    port = free_port()
    modality = {"AET": "INTU_TEST", "Host": "127.0.0.1", "Port": port}
    modality |= {"AllowStorageCommitment": True, "Timeout": 30}
    settings = {"DicomModalities": {"intu": modality}, **orthanc}
    with real_pacs("orthanc", folder / "orthanc", settings=settings) as sender:
        requesters = {"PACS": {"host": "127.0.0.1", "port": sender.port}}
        commitment = {"storage_commitment": {"requesters": requesters}}
        write_site(folder / "site", database=database, port=port, receiver=commitment)
        site = Site(open_app(load_configuration(folder / "site")))
        site.start()
        try:
            yield sender, site
        finally:
            site.stop()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()


def upload(sender: RealPacs, paths: list[Path]) -> list[str]:
    """Put files into Orthanc; return its names of those that it takes."""
    answers = [sender.ask("/instances", path.read_bytes()) for path in paths]
    return [answer["ID"] for answer in answers]


def staged(site: Site) -> dict[str, str]:
    """Return the digest of every staged instance by its UID."""
    columns = sa.select(instances.c.sop_instance_uid, instances.c.sha256)
    with site.app.database.read() as connection:
        return {one: sha for one, sha in connection.execute(columns)}  # noqa: C416


def path_of(site: Site, sop_instance_uid: str) -> Path:
    """Return the file of a staged instance."""
    where = instances.c.sop_instance_uid == sop_instance_uid
    with site.app.database.read() as connection:
        name = connection.execute(sa.select(instances.c.file).where(where)).scalar_one()
    return site.app.files.path(name)


def pixels(file: bytes) -> list[int]:
    """Return the pixels of a DICOM file, in the order of its values whatever their byte order."""
    dataset = dcmread(BytesIO(file))
    return sorted(dataset.PixelData)


@pytest.mark.parametrize("pdu", [16_384, 131_072])
def test_study_arrives_as_it_is(pdu: int, tmp_path: Path, migrated_database_url: str) -> None:
    """Every instance that Orthanc sends is staged with the bytes that Orthanc holds."""
    paths = write_study(tmp_path / "study", "one", series=2, instances=5)
    with orthanc_before_a_site(tmp_path, migrated_database_url, MaximumPduLength=pdu) as (o, site):
        sent = o.ask("/modalities/intu/store", json.dumps(upload(o, paths)).encode())
        assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (10, 0)
        assert staged(site) == {
            one: data_set_digest(o.file_of(one)) for one in o.sop_instance_uids()
        }


def test_real_files_arrive_as_they_are(tmp_path: Path, migrated_database_url: str) -> None:
    """Compressed and odd files that Orthanc takes and sends are staged as it encodes them."""
    paths = [path for path in pydicom_files() if path.name.startswith(("SC_", "CT_", "MR_small"))]
    with orthanc_before_a_site(tmp_path, migrated_database_url) as (o, site):
        names = []
        for path in paths:
            try:
                names += upload(o, [path])
            except OSError:  # Orthanc refuses it
                continue
        for name in names:
            o.ask("/modalities/intu/store", json.dumps([name]).encode())
        mine, theirs = staged(site), o.sop_instance_uids()
        assert sorted(mine) == theirs
        assert len(mine) > 8
        same = [one for one in theirs if mine[one] == data_set_digest(o.file_of(one))]
        assert len(same) > 8
        for one in set(theirs) - set(same):  # Orthanc writes lengths anew, or another syntax
            assert pixels(path_of(site, one).read_bytes()) == pixels(o.file_of(one)), one


def commitment(sender: RealPacs, asked: list[list[str]]) -> Any:
    """Ask for commitment of instances and return the report once it is there."""
    body = json.dumps({"DicomInstances": asked}).encode()
    transaction = sender.ask("/modalities/intu/storage-commitment", body)["ID"]
    path = f"/storage-commitment/{transaction}"
    return wait_until(lambda: (r := sender.ask(path))["Status"] != "Pending" and r)


def test_commitment_is_told_to_orthanc(tmp_path: Path, migrated_database_url: str) -> None:
    """Orthanc hears that all is safe, then that one is damaged and one was never sent."""
    paths = write_study(tmp_path / "study", "one", series=1, instances=3)
    with orthanc_before_a_site(tmp_path, migrated_database_url) as (o, site):
        o.ask("/modalities/intu/store", json.dumps(upload(o, paths)).encode())
        ct = "1.2.840.10008.5.1.4.1.1.2"
        asked = [[ct, uid("one", 1, number)] for number in (1, 2, 3)]
        report = commitment(o, asked)
        assert report["Status"] == "Success", report
        assert len(report["Success"]) == 3
        path = path_of(site, uid("one", 1, 2))
        path.write_bytes(path.read_bytes()[:-2])
        report = commitment(o, [*asked, [ct, "1.2.3.4"]])
        assert report["Status"] == "Failure", report
        failed = {one["SOPInstanceUID"]: one["FailureReason"] for one in report["Failures"]}
        assert failed == {uid("one", 1, 2): 0x0110, "1.2.3.4": 0x0112}
        wait_until(
            lambda: (
                [row.state for row in rows_of(site.app.database, storage_commitments)]
                == [REPORTED, REPORTED]
            )
        )
