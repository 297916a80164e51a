"""W-04: what crowds the web port does not slow down the receiver."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from intu_fhir.web.running import WebPage
from tests.support.databases import sqlite_url
from tests.support.honest import Honest
from tests.support.ports import free_port
from tests.support.running import running_site

REQUEST_SECONDS = 2.0
MOST, MOST_OF_ONE = 60, 40
TEN_MEGABYTES = 10_000_000
LONGEST_ECHO = 1.0
"""Seconds from connecting to the answer of a C-ECHO."""


@dataclass
class Crowded:
    """A site's two ports."""

    dicom: int
    web: int

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.web}"


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Crowded]:
    """A running site whose page takes few connections, none of them for long."""
    web = {
        "port": free_port(),
        "request_seconds": REQUEST_SECONDS,
        "max_connections": MOST,
        "max_connections_per_address": MOST_OF_ONE,
    }
    with running_site(tmp_path, sqlite_url(tmp_path / "staging.db"), web=web) as running:
        page = WebPage(running.site.app)
        page.start()
        try:
            yield Crowded(running.site.listeners[0].port, page.server.port)
        finally:
            page.stop()


def _echoes(crowded: Crowded, seconds: float) -> Honest:
    honest = Honest(crowded.dicom, called="INTU_TEST")
    honest.echo_for(seconds, lambda: 0.0)
    return honest


def _drip(port: int, stop: threading.Event) -> float:
    """Send a head without an end, a byte at a time; return how long one is let do so."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as slow:
        begun = time.monotonic()
        slow.settimeout(0.2)
        slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                if slow.recv(1) == b"":
                    break
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                slow.sendall(b"a")
        return time.monotonic() - begun
    return 0.0


@pytest.mark.timed
def test_slow_heads_are_cut_off(crowded: Crowded) -> None:
    """Slowloris: more drips than slots; each is cut off in time, and echoes stay under a second."""
    stop = threading.Event()
    with ThreadPoolExecutor(MOST_OF_ONE * 2) as pool:
        drips = [pool.submit(_drip, crowded.web, stop) for _ in range(MOST_OF_ONE * 2)]
        honest = _echoes(crowded, REQUEST_SECONDS + 1)
        held = [drip.result(timeout=60) for drip in drips]
        stop.set()
    assert honest.failed == 0
    assert honest.slowest < LONGEST_ECHO
    assert max(held) < REQUEST_SECONDS + 8, "the machine may be slow, the limit is not"
    assert httpx.get(f"{crowded.url}/healthz").status_code == 200


@pytest.mark.timed
def test_large_forms_are_refused(crowded: Crowded) -> None:
    """Forms of 10 MB at once: 413 for each, no 5xx, and echoes stay under a second."""

    def send(path: str) -> int:
        form = {"content-type": "application/x-www-form-urlencoded"}
        body = b"name=" + b"x" * TEN_MEGABYTES
        return httpx.post(crowded.url + path, content=body, headers=form, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(send, path) for path in ("/login", "/sql", "/api/v1/sql") * 8]
        honest = _echoes(crowded, 2.0)
        statuses = [answer.result(timeout=120) for answer in answers]
    assert set(statuses) <= {408, 413}
    assert 413 in statuses
    assert honest.failed == 0
    assert honest.slowest < LONGEST_ECHO
