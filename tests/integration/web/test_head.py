"""HEAD on every kind of address (RFC 9110 9.3.2)."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from tests.support.databases import sqlite_url
from tests.support.images import PATH, serving_images, write_all
from tests.support.studies import make_study, uid
from tests.support.web import Served, write_people

STUDY = f"{PATH}/studies/{uid('one')}"
ADDRESSES = (
    *("/healthz", "/readyz", "/", "/studies", f"/studies/{uid('one')}", "/static/page.css"),
    *("/api/v1/me", f"/api/v1/studies/{uid('one')}", "/api/v1/replays", "/nowhere"),
    *(f"{PATH}/studies", f"{PATH}/studies?PatientID=nobody", STUDY, f"{STUDY}/metadata"),
)
_OTHER_EACH_TIME = {"date", "set-cookie", "content-type", "content-length"}


def _told(answer: httpx.Response) -> tuple[int, dict[str, str]]:
    headers = {k: v for k, v in answer.headers.items() if k not in _OTHER_EACH_TIME}
    kind = answer.headers.get("content-type", "").partition("boundary")[0]
    return answer.status_code, {**headers, "content-type": kind}


def test_head_tells_what_get_would(tmp_path: Path) -> None:
    """Status and headers of GET come without its content, and the connection goes on."""
    files = write_all(tmp_path / "in", make_study("one"))
    with (
        serving_images(tmp_path / "site", sqlite_url(tmp_path / "s.db"), files) as served,
        served.client() as client,
    ):
        before = _asked_for_health(client)
        for address in ADDRESSES:
            whole = client.get(address)
            head = client.head(address)
            assert head.content == b""
            assert _told(head) == _told(whole), address
        assert client.head("/healthz").headers["content-length"] == "3"
        assert _asked_for_health(client) == before + 3


def _asked_for_health(client: httpx.Client) -> float:
    """Return how often that was answered, by other pages of this process as well."""
    said = client.get("/metrics").text
    counted = re.search(
        r'^intu_web_requests_total\{route="/healthz",status="200"\} (\S+)$', said, re.M
    )
    return float(counted[1]) if counted else 0.0


def test_head_opens_nothing_that_get_does_not(tmp_path: Path) -> None:
    """Who has not logged in is led to the login, or refused, as by GET."""
    people = {"users_file": str(write_people(tmp_path / "people"))}
    with serving_images(tmp_path, sqlite_url(tmp_path / "s.db"), [], web=people) as served:
        _see_it_closed(served)


def _see_it_closed(served: Served) -> None:
    with served.client() as client:
        page = client.head(f"/studies/{uid('one')}")
        assert (page.status_code, page.headers["location"]) == (
            303,
            f"/login?next=/studies/{uid('one')}",
        )
        assert client.head(STUDY).status_code == 401
        assert client.head("/api/v1/me").status_code == 401
