"""Who acts by the web is recorded with the address that they came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from intu_fhir.db.tables import audit_events, holds
from intu_fhir.web.access.roles import Role
from tests.support.clock import START
from tests.support.databases import sqlite_url
from tests.support.rows import rows_of
from tests.support.seeded import stage
from tests.support.studies import uid
from tests.support.web import Served, give_token, serving, token_in

THEIRS = "192.0.2.77"
STUDY = uid("one")
ACTS: list[tuple[str, str, dict[str, Any]]] = [
    ("paused", "/destinations/ehr/pause", {}),
    ("resumed", "/destinations/ehr/resume", {}),
    ("settled", f"/studies/{STUDY}/settle", {}),
    ("released", "/holds/{hold}/release", {}),
]
REPLAYS = [("replayed", {}), ("rebuilt", {"rebuild": True})]


def _seed(served: Served) -> list[int]:
    """Stage a study that has more to settle, a failed delivery, and two holds; return those."""
    with served.app.database.write() as connection:
        key = stage(connection, "one", revision=5, deliveries={"ehr": "dead"})
        hold = {
            "study_key": key,
            "destination": "",
            "detail": "",
            "generation": 1,
            "held_at": START,
        }
        for reason in ("first", "second"):
            connection.execute(holds.insert().values(reason=reason, **hold))
    return [row.hold_key for row in rows_of(served.app.database, holds)]


def _by_page(client: httpx.Client, token: str) -> Callable[[str, dict[str, Any]], httpx.Response]:
    def send(path: str, body: dict[str, Any]) -> httpx.Response:
        fields = {name: "yes" if value is True else value for name, value in body.items()}
        return client.post(path, data={"form_token": token, **fields})

    return send


@pytest.mark.parametrize("door", ["page", "api"])
def test_an_act_is_recorded_with_its_address(tmp_path: Path, door: str) -> None:
    """Pause, resume, settle, release and replay tell from where, also through a trusted proxy."""
    far = {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir", "release": "r4"}
    web = {"trusted_proxy": {"addresses": ["127.0.0.1"]}}
    url = sqlite_url(tmp_path / "staging.db")
    with serving(tmp_path, url, web=web, destinations={"ehr": far}) as served:
        hold = _seed(served)[0]
        headers = {"x-forwarded-for": f"10.0.0.1, {THEIRS}"}
        if door == "api":
            headers |= give_token(served, "program", Role.OPERATOR)
        with served.client(headers=headers) as client:
            replays = [("/replays", {"study": STUDY, **more}) for _, more in REPLAYS]
            if door == "api":
                send = lambda path, body: client.post(f"/api/v1{path}", json=body)  # noqa: E731
            else:
                send = _by_page(client, token_in(client.get("/studies").text))
                replays = [("/replay", {**body, "confirmed": True}) for _, body in replays]
            for path, body in [*((path, body) for _, path, body in ACTS), *replays]:
                answer = send(path.format(hold=hold), body)
                assert answer.status_code in {200, 202, 303}, answer.text
        done = {row.action: row.address for row in rows_of(served.app.database, audit_events)}
    expected = [action for action, *_ in ACTS] + [action for action, _ in REPLAYS]
    assert {action: done.get(action) for action in expected} == dict.fromkeys(expected, THEIRS)
