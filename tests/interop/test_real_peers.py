"""The whole way between programs that sites use: DCMTK and Orthanc at both ends."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.programs import require
from tests.support.real_pacs import NAMES, real_pacs
from tests.support.running import Running, running_site
from tests.support.studies import write_study


def _send(program: str, running: Running, files: list[Path], *options: str) -> None:
    port = str(running.site.listeners[0].port)
    done = subprocess.run(
        [require(program), "-aec", "INTU_TEST", *options, "127.0.0.1", port, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pacs_name", NAMES)
def test_dcmtk_sends_and_a_real_pacs_receives(
    tmp_path: Path, migrated_database_url: str, pacs_name: str
) -> None:
    """What storescu and dcmsend bring stands in the PACS, and the EHR lists it."""
    files = write_study(tmp_path / "study")
    with (
        real_pacs(pacs_name, tmp_path / "archive") as archive,
        running_site(tmp_path, migrated_database_url, pacs_at={"port": archive.port}) as running,
    ):
        _send("storescu", running, files[:3])
        running.rest()
        _send("dcmsend", running, files[3:])
        running.rest(generation=2)
        assert len(archive.sop_instance_uids()) == len(files)
        [resource] = running.imaging_studies()
        assert (resource["meta"]["versionId"], resource["numberOfInstances"]) == ("2", 6)


def test_tls_on_both_sides_with_certificates(
    tmp_path: Path, migrated_database_url: str, authority: Authority
) -> None:
    """A modality and a PACS that both want TLS and certificates are served as any other."""
    ours, theirs = authority.issue("intu-scp"), authority.issue("scanner")
    source = {
        "type": "dicom",
        "host": "127.0.0.1",
        "ae_title": "INTU_TEST",
        "calling_ae_titles": ["SCANNER"],
        "tls": {
            "cert_file": str(ours.cert_file),
            "key_file": str(ours.key_file),
            "ca_file": str(authority.ca_file),
        },
    }
    with real_pacs("storescp", tmp_path / "archive", authority) as archive:
        tls = {key: str(path) for key, path in archive.tls.items()}
        with running_site(
            tmp_path,
            migrated_database_url,
            source=source,
            pacs_at={"port": archive.port, "tls": tls},
        ) as running:
            key_and_certificate = (str(theirs.key_file), str(theirs.cert_file))
            options = ("--enable-tls", *key_and_certificate, "-aet", "SCANNER")
            files = write_study(tmp_path / "study")
            _send("storescu", running, files, *options, "+cf", str(authority.ca_file))
            [study] = running.rest()
            assert study.state == "delivered"
            assert len(archive.sop_instance_uids()) == len(files)


def test_orthanc_sends_as_a_modality(tmp_path: Path, migrated_database_url: str) -> None:
    """A study that Orthanc forwards to us is published and archived."""
    files = write_study(tmp_path / "study")
    with (
        real_pacs("orthanc", tmp_path / "modality") as orthanc,
        running_site(tmp_path, migrated_database_url) as running,
    ):
        base = f"http://127.0.0.1:{orthanc.http_port}"
        for file in files:
            _post(f"{base}/instances", file.read_bytes())
        us = {"AET": "INTU_TEST", "Host": "127.0.0.1", "Port": running.site.listeners[0].port}
        _call(f"{base}/modalities/intu", json.dumps(us).encode(), "PUT")
        [study] = json.loads(_call(f"{base}/studies", None, "GET"))
        _post(f"{base}/modalities/intu/store", study.encode())
        running.rest()
        assert len(running.pacs.instances) == len(files)
        assert [r["numberOfInstances"] for r in running.imaging_studies()] == [len(files)]


def _post(url: str, body: bytes) -> bytes:
    return _call(url, body, "POST")


def _call(url: str, body: bytes | None, method: str) -> bytes:
    request = urllib.request.Request(url, data=body, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def test_the_site_answers_echoscu(tmp_path: Path, migrated_database_url: str) -> None:
    """Echoscu, the first thing an engineer tries, gets its answer."""
    with running_site(tmp_path, migrated_database_url) as running:
        _send("echoscu", running, [])


def test_dcm4che_sends(tmp_path: Path, migrated_database_url: str) -> None:
    """What dcm4che's storescu sends is staged and stands in the EHR (where ``DCM4CHE_HOME`` is)."""
    program = Path(os.environ.get("DCM4CHE_HOME", ""), "bin", "storescu")
    if not os.environ.get("DCM4CHE_HOME"):
        pytest.skip("dcm4che is in no registry: set DCM4CHE_HOME to where it was unpacked")
    files = write_study(tmp_path / "study")
    with running_site(tmp_path, migrated_database_url) as running:
        port = running.site.listeners[0].port
        command = [str(program), "-c", f"INTU_TEST@127.0.0.1:{port}", *map(str, files)]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
        running.rest()
        [resource] = running.imaging_studies()
        assert resource["numberOfInstances"] == len(files)
