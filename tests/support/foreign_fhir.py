"""FHIR servers that others wrote: Medplum's router (Node), and HAPI FHIR with its store (Java)."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.data import REPOSITORY
from tests.support.programs import missing, require

_VALIDATORS = REPOSITORY / "tests" / "validators"
_HAPI = REPOSITORY / "tests" / "servers" / "hapi"
BUILD_HAPI = ("mvn", "-q", "-B", "-f", "tests/servers/hapi/pom.xml", "compile")


@dataclass(frozen=True)
class ForeignServer:
    """A running server.

    Args:
        release: ``r4`` or ``r5``.
    """

    base_url: str
    release: str

    def search(self, query: str) -> list[dict[str, Any]]:
        """Return the resources that a search finds, such as ``ImagingStudy?_count=9``."""
        # A server may show to everybody for a while what somebody has searched before.
        request = urllib.request.Request(
            f"{self.base_url}/{query}", headers={"Cache-Control": "no-cache"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            bundle = json.load(answer)
        return [entry["resource"] for entry in bundle.get("entry", [])]

    def put(self, path: str, resource: dict[str, Any]) -> None:
        """Update as any other client of the server."""
        self._write("PUT", path, resource)

    def post(self, path: str, resource: dict[str, Any]) -> None:
        """Create as any other client of the server."""
        self._write("POST", path, resource)

    def _write(self, method: str, path: str, resource: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.base_url}/{path}",
            json.dumps(resource).encode(),
            {"Content-Type": "application/fhir+json"},
            method=method,
        )
        urllib.request.urlopen(request, timeout=60).close()


@contextmanager
def medplum() -> Iterator[ForeignServer]:
    """Run Medplum's router, empty, on a port of its own; skips the test without it."""
    node = require("node")
    if not (_VALIDATORS / "node_modules" / "@medplum" / "fhir-router").is_dir():
        missing("`npm ci --prefix tests/validators`")
    with _started([node, str(_VALIDATORS / "server.mjs")]) as process:
        yield ForeignServer(f"http://127.0.0.1:{_port(process)}", "r4")


@contextmanager
def hapi() -> Iterator[Mapping[str, ForeignServer]]:
    """Run HAPI FHIR of each release, on H2 in memory, empty; skips the test without it.

    Both start at the same time, since each takes half a minute of one processor for that.
    """
    java, built = require("java"), _HAPI / "target"
    if not (built / "classes").is_dir() or not (built / "lib").is_dir():
        missing(f"`{' '.join(BUILD_HAPI)}`")
    with _started(_java(java, built, "r4")) as r4, _started(_java(java, built, "r5")) as r5:
        yield {
            release: ForeignServer(f"http://127.0.0.1:{_port(process)}/fhir", release)
            for release, process in (("r4", r4), ("r5", r5))
        }


def _java(java: str, built: Path, release: str) -> list[str]:
    # A server that lives for a minute is not worth the second compiler.
    options = ["-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return [java, *options, "-cp", f"{built}/classes:{built}/lib/*", "HapiServer", release]


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server that ends with its standard input."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes]) -> int:
    """Return the port that a server says in its first line, once it answers."""
    assert process.stdout is not None
    port: int = json.loads(process.stdout.readline())["port"]
    return port
