"""S-05 and S-07: what a peer or a configuration says forges no record and betrays no secret."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from intu_fhir.demo.ehr import StandInEhr
from tests.support.databases import sqlite_url
from tests.support.ports import free_port
from tests.support.raw_peer import ASSOCIATE_AC, RawPeer, associate_request, status_of
from tests.support.site_folder import write_site
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.traces import Collector
from tests.support.waiting import wait_until

HOSTILE = "X\r\n\x1b[31m\x00"
FORGED = '{"event": "work_done", "level": "info"}'
LONG_NAME = f"Long\r\n{FORGED}\r\n\x1b[2J\x00" + "x" * 10_000


@dataclass
class Serving:
    """A site in processes of its own; ``log`` has what they wrote."""

    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    def lines(self) -> list[str]:
        """Return the lines of the log so far."""
        return self.log.read_text(encoding="utf-8").split("\n")[:-1]

    def events(self) -> list[dict[str, Any]]:
        """Return the records of the log so far."""
        return [json.loads(line) for line in self.lines()]


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Serving]:
    """Run ``serve`` until the block ends."""
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "intu_fhir.cli", "serve", "--config", str(folder)],
            stdout=file,
            stderr=file,
            env=os.environ | environment,
        )
    site = Serving(folder, log, process)
    try:
        wait_until(
            lambda: '"ready"' in log.read_text(encoding="utf-8"), what="a site that is ready"
        )
        yield site
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says that the values are wrong
def test_s_05_one_record_is_one_line(tmp_path: Path) -> None:
    """S-05: line breaks, escape sequences, NUL and 10 KB in AE titles and names forge no record."""
    port = free_port()
    channel = {"settle": {"quiet_seconds": 0.1, "on_release": True}}
    write_site(tmp_path, database=sqlite_url(tmp_path / "x.db"), port=port, channel=channel)
    hostile = make_instance("one", PatientName=LONG_NAME, PatientID=HOSTILE, AccessionNumber=FORGED)
    with serving(tmp_path) as site:
        with RawPeer(port) as peer:
            peer.send(associate_request(calling=HOSTILE[:16], called="INTU_TEST"))
            kind, _ = peer.read()
            if kind == ASSOCIATE_AC:
                _store(peer, hostile)
        with RawPeer(port) as peer:
            peer.associate(calling="CT1", called="INTU_TEST")
            _store(peer, hostile)
        with RawPeer(port) as peer:
            peer.send(associate_request(calling=f"\n{FORGED}"[:16], called=HOSTILE[:16]))
            peer.read()
        wait_until(lambda: any(one["event"] == "work_done" for one in site.events()))
    records = site.events()
    assert len(records) == len(site.lines())
    text = site.log.read_bytes()
    assert not any(byte < 0x20 and byte != 0x0A for byte in text)
    assert b"Long" not in text
    assert max(map(len, site.lines())) < 2_000
    assert all(one.get("timestamp") for one in records)
    assert {one["study"] for one in records if one["event"] == "work_done"} == {uid("one")}


def _store(peer: RawPeer, dataset: Any) -> None:
    data = data_set_bytes(dataset)
    assert status_of(peer.store(data, str(dataset.SOPInstanceUID))) == 0


SECRETS = {
    "BASIC": "canary-basic-0123456789",
    "BEARER": "canary-bearer-0123456789",
    "OAUTH": "canary-oauth-0123456789",
    "PASSCODE": "canary-passcode-0123456789",
    "SESSION": "canary-session-0123456789-0123456789",
    "COLLECTOR": "canary-collector-0123456789",
}


def _with_secrets(folder: Path, ehr: StandInEhr, collector: Collector, port: int, web: int) -> None:
    def fhir(auth: dict[str, str]) -> dict[str, Any]:
        subject = {"strategy": "logical"}
        return {"type": "fhir", "base_url": ehr.base_url, "subject": subject, "auth": auth}

    users = [{"name": "ct", "passcode": "${env:PASSCODE}"}]
    write_site(
        folder,
        database=sqlite_url(folder / "x.db"),
        port=port,
        destinations={
            "basic": fhir({"type": "basic", "username": "u", "password": "${env:BASIC}"}),
            "bearer": fhir({"type": "bearer", "token": f"${{file:{folder}/token}}"}),
            "oauth": fhir(
                {
                    "type": "oauth2",
                    "token_url": f"{ehr.url}token",
                    "client_id": "c",
                    "client_secret": "${env:OAUTH}",
                }
            ),
        },
        channel={"settle": {"quiet_seconds": 0.1, "on_release": True}},
        receiver={"processes": 2},
        retry={"first_seconds": 0.1, "max_attempts": 2},
        tracing={"endpoint": collector.url, "headers": {"x-key": "${env:COLLECTOR}"}},
        web={"port": web, "session_secret": "${env:SESSION}"},
    )
    (folder / "token").write_text(SECRETS["BEARER"], encoding="utf-8")
    file = folder / "channels" / "radiology" / "channel.yaml"
    channel = yaml.safe_load(file.read_text(encoding="utf-8"))
    source = channel["source"] | {"port": free_port(), "users": users}
    channel |= {"id": "other", "source": source}
    place = folder / "channels" / "other"
    place.mkdir()
    (place / "channel.yaml").write_text(yaml.safe_dump(channel), encoding="utf-8")


def test_s_07_secrets_stay_in_the_configuration(tmp_path: Path) -> None:
    """S-07: no secret is in logs, metrics, pages, arguments, what commands print, or a backup."""
    port, web = free_port(), free_port()
    environment = {name: value for name, value in SECRETS.items() if name != "BEARER"}
    seen: dict[str, str] = {}
    with StandInEhr(tmp_path / "ehr", authorize=lambda _: False) as ehr, Collector() as collector:
        collector.status = 400
        _with_secrets(tmp_path, ehr, collector, port, web)
        with serving(tmp_path, **environment) as site:
            with RawPeer(port) as peer:
                peer.associate(calling="CT1", called="INTU_TEST")
                _store(peer, make_instance("one"))
            with httpx.Client(base_url=f"http://127.0.0.1:{web}") as client:
                wait_until(lambda: client.get("/failures").text.count("data-row") >= 2)
                for path in ("/metrics", "/failures", "/destinations", "/audit", "/healthz", "/"):
                    seen[path] = client.get(path).text
            seen["argv"] = _arguments(site.process.pid)
            assert seen["argv"].count("intu_fhir") >= 2
            for command in COMMANDS:
                seen[command[0]] = _printed(tmp_path, command, environment)
        seen["log"] = site.log.read_text(encoding="utf-8")
    for file in (tmp_path / "kept").rglob("*"):
        if file.is_file():
            seen[str(file)] = file.read_bytes().decode("latin-1")
    seen["database"] = (tmp_path / "x.db").read_bytes().decode("latin-1")
    assert any(name.endswith(".db") for name in seen)
    assert "401" in seen["log"]
    betrayed = [where for where, text in seen.items() if "canary-" in text]
    assert betrayed == []


COMMANDS = (("check",), ("destinations",), ("deliveries", "--json"), ("backup", "kept"))


def _printed(folder: Path, command: tuple[str, ...], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "intu_fhir.cli", *command, "--config", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | environment,
        timeout=60,
    )
    return done.stdout + done.stderr


def _arguments(parent: int) -> str:
    """Return the command lines of a process and of those that it started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(folder.name) == parent or int(stat[1]) == parent:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return "\n".join(found)
