"""Real servers that speak S3: moto's, from PyPI, and versitygw, which keeps files on a disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
from obstore.store import S3Store

from tests.support.ports import free_port
from tests.support.programs import find
from tests.support.waiting import wait_until

BUCKET = "images"
ACCESS_KEY, SECRET_KEY = "intu-test-access", "intu-test-secret"
KINDS = ("moto", "versitygw")


class Running:
    """A server that runs already, with one bucket."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def settings(self, spool: Path, **more: Any) -> dict[str, Any]:
        """Return the section ``object_store`` of a site that uses it."""
        return {
            "spool": str(spool),
            "endpoint": self.endpoint,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "timeout_seconds": 3,
            **more,
        }

    def objects(self) -> dict[str, bytes]:
        """Return every object of the bucket as it is there."""
        store = self.store()
        listed = [one["path"] for batch in obstore.list(store) for one in batch]
        return {path: bytes(obstore.get(store, path).bytes()) for path in sorted(listed)}

    def replace(self, path: str, content: bytes) -> None:
        """Put other bytes under the name and attributes of an object, as rot does."""
        attributes = obstore.get(self.store(), path).attributes
        obstore.put(self.store(), path, content, attributes=attributes)

    def freeze_object(self, path: str) -> None:
        """Put an object into a storage class that is not read at once; moto's server knows it."""
        found = obstore.get(self.store(), path)
        attributes = {**found.attributes, "Storage-Class": "GLACIER"}
        obstore.put(self.store(), path, bytes(found.bytes()), attributes=attributes)

    def clear(self) -> None:
        """Remove every object."""
        for path in self.objects():
            obstore.delete(self.store(), path)

    def store(self) -> S3Store:
        """Return a client of the bucket."""
        return S3Store(
            BUCKET,
            config={
                "endpoint": self.endpoint,
                "region": "us-east-1",
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
            },
            client_options={"allow_http": True},
        )


class ObjectStoreServer(Running, ABC):
    """A server with one bucket.

    Args:
        host: address to listen on.
        within: what comes before its command, such as to run it on another host.
    """

    def __init__(self, host: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        self._host, self._within, self._port = host, tuple(within), free_port()
        super().__init__(f"http://{host}:{self._port}")
        self.start()

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command line of the server."""

    @abstractmethod
    def _make_bucket(self) -> None:
        """Make the bucket."""

    def start(self) -> None:
        """Start the server, also after ``crash``."""
        self._process = subprocess.Popen(
            [*self._within, *self._command()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, 30, "an object store that answers")
        self._make_bucket()

    def _answers(self) -> bool:
        try:
            httpx.get(self.endpoint, timeout=2)
        except httpx.HTTPError:
            return False
        return True

    def crash(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it keep connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self.crash()


class Moto(ObjectStoreServer):
    """moto's server; what it holds goes with it."""

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", self._host, "-p", str(self._port)]

    def _make_bucket(self) -> None:
        httpx.put(f"{self.endpoint}/{BUCKET}", timeout=10).raise_for_status()


class Versity(ObjectStoreServer):
    """versitygw over a folder, which outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()

    def _command(self) -> list[str]:
        keys = ["--access", ACCESS_KEY, "--secret", SECRET_KEY]
        where = ["--port", f"127.0.0.1:{self._port}"]
        return [_required_versitygw(), *keys, *where, "posix", str(self._folder)]

    def _make_bucket(self) -> None:
        (self._folder / BUCKET).mkdir(parents=True, exist_ok=True)


def versitygw() -> str | None:
    """Return the path of the program, if it is here."""
    go = Path(os.environ.get("GOBIN") or Path(os.environ.get("GOPATH", "~/go")) / "bin")
    return find("versitygw") or shutil.which("versitygw", path=str(go.expanduser()))


def _required_versitygw() -> str:
    """Return the program, or skip the test, in the gate too: only Go's registry has it."""
    path = versitygw()
    if path is None:
        # Not the word by which the gate knows what has to be there.
        pytest.skip("no versitygw (go install github.com/versity/versitygw/cmd/versitygw)")
    return path


def start_object_store(kind: str, folder: Path) -> ObjectStoreServer:
    """Start a server of one of ``KINDS``, or skip the test."""
    if kind == "moto":
        return Moto()
    _required_versitygw()
    folder.mkdir(parents=True, exist_ok=True)
    return Versity(folder)
