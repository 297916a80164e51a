"""PACS that sites use, started for a test: DCMTK storescp and Orthanc."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intu_fhir.model.outcome import Delivered
from tests.support.certificates import Authority
from tests.support.outgoing import Sending
from tests.support.ports import free_port
from tests.support.programs import require
from tests.support.waiting import wait_until

NAMES = ("storescp", "orthanc")


@dataclass(frozen=True)
class RealPacs:
    """A running PACS.

    Args:
        tls: what a client needs, where it speaks TLS.
    """

    name: str
    port: int
    folder: Path
    tls: dict[str, Any]
    http_port: int = 0

    def sending(self, **settings: Any) -> Sending:
        """Return a sender to it."""
        if self.tls:
            settings["tls"] = self.tls
        return Sending(self.port, **{"timeout_seconds": 20.0, **settings})

    def sop_instance_uids(self) -> list[str]:
        """Return what it has stored."""
        if self.name == "storescp":
            return sorted(path.name.partition(".")[2] for path in self.folder.iterdir())
        found = self.ask("/instances?expand")
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in found)

    def file_of(self, sop_instance_uid: str) -> bytes:
        """Return an instance as a DICOM file."""
        if self.name == "storescp":
            (path,) = self.folder.glob(f"*.{sop_instance_uid}")
            return path.read_bytes()
        found = self.ask("/tools/lookup", sop_instance_uid.encode())
        with urllib.request.urlopen(self._url(f"{found[0]['Path']}/file")) as file:
            content: bytes = file.read()
            return content

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """Ask Orthanc's own interface; with a body as POST."""
        with urllib.request.urlopen(self._url(path), data=body, timeout=60) as answer:
            return json.load(answer)

    def delete(self, path: str) -> None:
        """Delete something at Orthanc."""
        urllib.request.urlopen(
            urllib.request.Request(self._url(path), method="DELETE"), timeout=60
        ).close()

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http_port}{path}"


@contextmanager
def real_pacs(
    name: str,
    folder: Path,
    authority: Authority | None = None,
    *,
    refuse: bool = False,
    uncompressed: str = "",
    settings: dict[str, Any] | None = None,
) -> Iterator[RealPacs]:
    """Run a PACS; over TLS with client certificates where an authority is given.

    Args:
        refuse: it rejects every association (storescp only).
        uncompressed: it takes no compressed images, ``explicit`` and implicit VR or only
            ``implicit``.
        settings: more of its configuration (Orthanc only).
    """
    folder.mkdir(parents=True, exist_ok=True)
    pacs = RealPacs(name, free_port(), folder, _client_tls(authority), free_port())
    command = (
        _storescp(pacs, authority, refuse, uncompressed)
        if name == "storescp"
        else _orthanc(pacs, authority, {**_taking(uncompressed), **(settings or {})})
    )
    with (folder.parent / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "TCP_NODELAY": "1"}
        )
    try:
        wait_until(lambda: _is_there(pacs, process, refuse), 30, f"{name} answers an echo")
        yield pacs
    finally:
        process.terminate()
        process.wait(20)


def _is_there(pacs: RealPacs, process: subprocess.Popen[bytes], refuse: bool) -> bool:
    assert process.poll() is None, f"{pacs.name} ended"
    outcome = pacs.sending().scu.echo()
    return isinstance(outcome, Delivered) or (refuse and "RJ" in outcome.status)


def _client_tls(authority: Authority | None) -> dict[str, Any]:
    if authority is None:
        return {}
    ours = authority.issue("intu")
    files = {"cert_file": ours.cert_file, "key_file": ours.key_file}
    return {"ca_file": authority.ca_file, **files}


def _taking(uncompressed: str) -> dict[str, Any]:
    """Return what Orthanc takes."""
    if not uncompressed:
        return {}
    uids = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
    return {"AcceptedTransferSyntaxes": uids[: 1 + (uncompressed == "explicit")]}


def _storescp(
    pacs: RealPacs, authority: Authority | None, refuse: bool, uncompressed: str
) -> list[str]:
    takes = {"explicit": "--prefer-little", "implicit": "--implicit"}
    options = [takes.get(uncompressed, "--accept-all"), "--output-directory", str(pacs.folder)]
    if refuse:
        options.append("--refuse")
    if authority:
        theirs = authority.issue("storescp")
        options += ["--enable-tls", str(theirs.key_file), str(theirs.cert_file)]
        options += ["--add-cert-file", str(authority.ca_file), "--require-peer-cert"]
    return [require("storescp"), *options, str(pacs.port)]


def _orthanc(pacs: RealPacs, authority: Authority | None, more: dict[str, Any]) -> list[str]:
    settings: dict[str, Any] = {
        "DicomAet": "PACS",
        "DicomPort": pacs.port,
        "HttpPort": pacs.http_port,
        "RemoteAccessAllowed": False,
        "StorageDirectory": str(pacs.folder),
        "IndexDirectory": str(pacs.folder),
        "StorageCompression": False,
        "DicomCheckCalledAet": True,
        **more,
    }
    if authority:
        theirs = authority.issue("orthanc")
        settings |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(theirs.cert_file),
            "DicomTlsPrivateKey": str(theirs.key_file),
            "DicomTlsTrustedCertificates": str(authority.ca_file),
        }
    path = pacs.folder.parent / "orthanc.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return [require("Orthanc"), str(path)]


def data_set_digest(file: bytes) -> str:
    """Return the SHA-256 of what follows the file meta information (PS3.10 7.1)."""
    length = int.from_bytes(file[140:144], "little")
    return hashlib.sha256(file[144 + length :]).hexdigest()
