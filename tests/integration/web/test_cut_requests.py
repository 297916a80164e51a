"""A request that ends before its body does: its sender is gone, and half of it was no request."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlencode

import pytest

from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, destination_states
from tests.support.databases import sqlite_url
from tests.support.rows import rows_of
from tests.support.web import Served, serving, token_in

SAID_LENGTH = 5_000


def _cut(served: Served, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Send a head and the begin of its body, go, and return what was answered."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{served.page.server.port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", served.page.server.port), 10) as sender:
        sender.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        sender.shutdown(socket.SHUT_WR)
        answer = b""
        while part := sender.recv(4_096):
            answer += part
    return answer


def _chunk(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_half_a_form_does_nothing(tmp_path: Path, is_chunked: bool) -> None:
    """A form that is cut off, whose begin would be a form by itself, is not carried out."""
    url = sqlite_url(tmp_path / "staging.db")
    far = {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir", "release": "r4"}
    with serving(tmp_path, url, destinations={"ehr": far}) as served:
        with served.client() as client:
            token = token_in(client.get("/studies").text)
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        body = urlencode({"form_token": token, "reason": "becau"}).encode()
        size = {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": SAID_LENGTH}
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        headers |= {name: str(value) for name, value in size.items()}
        sent = _chunk(body) if is_chunked else body
        assert _cut(served, "/destinations/ehr/pause", headers, sent) == b""
    # The page has stopped, so what it had in hand is done.
    database = Database(url)
    try:
        assert rows_of(database, destination_states) == []
        assert "paused" not in {row.action for row in rows_of(database, audit_events)}
    finally:
        database.close()
