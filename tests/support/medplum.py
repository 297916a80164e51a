"""A FHIR server with Medplum's router and validation (``tests/validators/server.mjs``, Node)."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.data import REPOSITORY
from tests.support.programs import missing, require

_FOLDER = REPOSITORY / "tests" / "validators"


@dataclass(frozen=True)
class Medplum:
    """A running server."""

    base_url: str

    def search(self, query: str) -> list[dict[str, Any]]:
        """Return the resources that a search finds, such as ``ImagingStudy?_count=9``."""
        with urllib.request.urlopen(f"{self.base_url}/{query}", timeout=20) as answer:
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
        urllib.request.urlopen(request, timeout=20).close()


@contextmanager
def medplum() -> Iterator[Medplum]:
    """Run the server, empty, on a port of its own; skips the test without it."""
    node = require("node")
    if not (_FOLDER / "node_modules" / "@medplum" / "fhir-router").is_dir():
        missing("`npm ci --prefix tests/validators`")
    with subprocess.Popen(
        [node, str(_FOLDER / "server.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            yield Medplum(f"http://127.0.0.1:{port}")
        finally:
            process.kill()
