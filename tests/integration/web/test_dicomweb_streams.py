"""WADO-RS of large studies, from a bucket, and to readers who take their time."""

from __future__ import annotations

import re
import socket
import tracemalloc
import uuid
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.support.images import PATH, client_of, serving_images, write_all
from tests.support.object_stores import BUCKET, ObjectStoreServer
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until
from tests.support.web import Served

ROWS, COLUMNS = 1_024, 2_048
IMAGE_BYTES = ROWS * COLUMNS * 2
DICOM = {"accept": 'multipart/related; type="application/dicom"'}


def large(number: int) -> Dataset:
    """Return an image of 4 MiB."""
    pixels = bytes([number]) * IMAGE_BYTES
    return make_instance("large", number=number, Rows=ROWS, Columns=COLUMNS, PixelData=pixels)


def test_memory_does_not_grow_with_the_study(tmp_path: Path) -> None:
    """A study of 64 MiB passes through a few, and arrives whole."""
    files = write_all(tmp_path / "in", map(large, range(1, 17)))
    database = f"sqlite:///{tmp_path}/staging.db"
    with serving_images(tmp_path / "site", database, files) as served, served.client() as client:
        tracemalloc.start()
        try:
            got = 0
            with client.stream("GET", f"{PATH}/studies/{uid('large')}", headers=DICOM) as answer:
                for block in answer.iter_raw():
                    got += len(block)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert got > 16 * IMAGE_BYTES
    assert peak < 3 * IMAGE_BYTES, f"{peak} bytes at once"


def _ended(served: Served, route: str) -> int:
    with served.client() as client:
        metrics = client.get("/metrics").text
    found = re.findall(rf'requests_total{{route="{re.escape(route)}",[^}}]*}} (\d+)', metrics)
    return sum(map(int, found))


def test_a_reader_who_takes_nothing_is_given_up(tmp_path: Path) -> None:
    """Whoever stops reading loses the connection after some seconds; others are answered."""
    files = write_all(tmp_path / "in", map(large, range(1, 9)))
    database = f"sqlite:///{tmp_path}/staging.db"
    settings = {"send_seconds": 0.5}
    route = f"{PATH}/studies/{{study}}"
    with serving_images(tmp_path / "site", database, files, dicomweb=settings) as served:
        before = _ended(served, route)
        with socket.create_connection(("127.0.0.1", served.page.server.port)) as slow:
            slow.settimeout(30)
            path = f"{PATH}/studies/{uid('large')}"
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert slow.recv(12) == b"HTTP/1.1 200"
            wait_until(lambda: _ended(served, route) > before, 30, "the end of the answer")
            got = 0
            while block := slow.recv(1 << 20):
                got += len(block)
        assert got < 8 * IMAGE_BYTES
        with served.client() as client:
            assert client.get("/healthz").is_success


def test_images_come_out_of_a_bucket(
    object_store: ObjectStoreServer, migrated_database_url: str, tmp_path: Path
) -> None:
    """What an object store has is given as it came; what it spoils is not given at all."""
    section = object_store.settings(tmp_path / "spool", cache_bytes=0)
    prefix = uuid.uuid4().hex
    store = {"files": f"s3://{BUCKET}/{prefix}", "object_store": section}
    files = write_all(tmp_path / "in", make_study("one"))
    with serving_images(tmp_path / "site", migrated_database_url, files, **store) as served:
        study = client_of(served).retrieve_study(uid("one"))
        assert {bytes(one.PixelData) for one in study} == {bytes(range(8))}
        assert len(study) == 6
        with served.client() as client:
            path = (
                f"{PATH}/studies/{uid('one')}/series/{uid('one', 1)}/instances/{uid('one', 1, 1)}"
            )
            assert client.get(f"{path}/frames/1").is_success
            for name, content in object_store.objects().items():
                if name.startswith(prefix):
                    object_store.replace(name, content[:-1] + b"\xff")
            for what in ("", "/frames/1", "/rendered"):
                assert client.get(path + what).status_code == 410, what
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(f"{PATH}/studies/{uid('one')}", headers=DICOM)
