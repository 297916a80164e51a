"""Whether the destinations answer, on the page that somebody opens for the first time."""

from __future__ import annotations

import socket
from pathlib import Path

from intu_fhir.demo.ehr import StandInEhr
from tests.support.databases import sqlite_url
from tests.support.web import serving


def test_a_destination_that_answers_has_done_so_at_first_sight(tmp_path: Path) -> None:
    """The page waits a moment for it; for one that is silent it asks again soon."""
    with (
        StandInEhr(tmp_path / "ehr", "r4") as ehr,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        port = silent.getsockname()[1]
        destinations = {
            "ehr": {"type": "fhir", "base_url": ehr.base_url},
            "silent": {"type": "fhir", "base_url": f"http://127.0.0.1:{port}/fhir"},
        }
        with (
            serving(tmp_path, sqlite_url(tmp_path / "s.db"), destinations=destinations) as served,
            served.client() as client,
        ):
            shown = client.get("/destinations").text
            again = client.get("/destinations", headers={"x-fragment": "live"}).text
    answering, _, waiting = shown.partition('id="silent"')
    assert "</span> answers</span>" in answering
    assert "data-soon" not in answering
    assert "data-soon>asking it now" in waiting
    assert "data-soon>asking it now" in again
