"""Sessions that end, and a proxy that says who comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from intu_fhir.web.access.roles import Role
from intu_fhir.web.access.users import new_user, read_users, write_users
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url
from tests.support.web import Served, log_in, serving, token_in, write_people

LIFETIME, IDLE = 36_000, 3_600


@pytest.fixture
def served(tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    """A page that people log in to, on a clock of the test's own."""
    people = write_people(tmp_path / "people")
    url = sqlite_url(tmp_path / "staging.db")
    with serving(tmp_path, url, web={"users_file": str(people)}) as page:
        page.page.site.clock = clock
        yield page


def test_a_session_ends_when_nothing_is_asked(served: Served, clock: FakeClock) -> None:
    """An hour without a question ends it; what the page asks by itself is no question."""
    with served.logged_in(Role.VIEWER) as client:
        clock.advance(IDLE - 1)
        assert client.get("/").status_code == 200
        clock.advance(IDLE - 1)
        assert client.get("/").status_code == 200
        for _ in range(4):
            clock.advance(IDLE / 4)
            answer = client.get("/", headers={"x-fragment": "1"})
        assert answer.status_code == 401
        assert client.get("/").status_code == 303


def test_a_session_ends_after_its_time(served: Served, clock: FakeClock) -> None:
    """Ten hours after the login it ends, however busy it is."""
    with served.logged_in(Role.VIEWER) as client:
        asked = 0
        while client.get("/").status_code == 200:
            clock.advance(600)
            asked += 600
    assert asked == LIFETIME


def test_a_cookie_that_was_changed_is_worth_nothing(served: Served) -> None:
    """A session that is signed by nobody, has another letter, or one less, is none."""
    with served.logged_in(Role.VIEWER) as client:
        [(name, value)] = client.cookies.items()
    signature = value.rindex(".") + 1
    for changed in ("", "x.y", value[:-1], *(_other_letter(value, at) for at in (0, signature))):
        answer = httpx.get(served.url + "/", cookies={name: changed})
        assert answer.status_code == 303, changed


def test_a_new_password_ends_the_sessions_of_the_old_one(served: Served) -> None:
    """Whoever sits at a session begun with the old password is out; the new one begins another."""
    file, again = served.folder / "people", "another horse entirely"
    with served.logged_in(Role.VIEWER) as viewer, served.logged_in(Role.OPERATOR) as other:
        people = read_users(file)
        people["viewer"] = new_user("viewer", Role.VIEWER, again)
        write_users(file, people)
        assert viewer.get("/").status_code == 303
        assert other.get("/").status_code == 200
        assert log_in(viewer, "viewer", again).status_code == 303
        assert viewer.get("/").status_code == 200


def _other_letter(value: str, at: int) -> str:
    """Change one letter; not the last one, whose lowest bits say nothing in base64."""
    return value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]


PROXY = {
    "addresses": ["127.0.0.1/32"],
    "ends_tls": True,
    "user_header": "X-Forwarded-User",
    "roles": {"viewer": ["radiology"], "operator": ["imaging-it"], "administrator": ["lead"]},
}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page behind a proxy that knows who comes."""
    folder = tmp_path_factory.mktemp("proxy")
    url = sqlite_url(folder / "staging.db")
    with serving(folder, url, web={"host": "0.0.0.0", "trusted_proxy": PROXY}) as page:
        yield page


def _named(user: str, groups: str) -> dict[str, str]:
    return {"x-forwarded-user": user, "x-forwarded-groups": groups}


@pytest.mark.parametrize(
    ("groups", "page", "audit"),
    [
        ("radiology", 200, 403),
        ("staff, imaging-it", 200, 403),
        ("radiology,lead", 200, 200),
        ("staff", 303, 303),
        ("", 303, 303),
    ],
)
def test_the_proxy_says_who_comes(behind: Served, groups: str, page: int, audit: int) -> None:
    """The highest role of the listed groups counts; who has none does not come in."""
    with behind.client() as client:
        assert client.get("/", headers=_named("anna", groups)).status_code == page
        assert client.get("/audit", headers=_named("anna", groups)).status_code == audit
        assert client.get("/").status_code == 303, "nobody is named, whatever was before"


def test_who_comes_past_the_proxy_is_refused(behind: Served) -> None:
    """From another address neither the header nor a token opens anything, and nothing is told."""
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=behind.url, transport=elsewhere) as client:
        for path in ("/", "/api/v1/studies", "/healthz", "/login"):
            answer = client.get(path, headers=_named("anna", "lead"))
            assert answer.status_code == 403, path
            assert "Come by the proxy" in answer.text


def test_a_header_beside_the_proxys_own_is_no_way_in(behind: Served) -> None:
    """Two names in one request name nobody: one of them may be the sender's own."""
    headers = [
        ("x-forwarded-user", "anna"),
        ("x-forwarded-user", "root"),
        ("x-forwarded-groups", "lead"),
    ]
    with behind.client() as client:
        assert client.get("/", headers=headers).status_code == 303


def test_the_cookie_of_a_proxied_page_is_for_https_alone(behind: Served) -> None:
    """Where people come by HTTPS the cookie is Secure and bound to the host."""
    with behind.client() as client:
        answer = client.get("/", headers=_named("anna", "lead"))
        assert answer.headers["set-cookie"].startswith("__Host-")
        assert "Secure" in answer.headers["set-cookie"]
        assert "max-age" in answer.headers["strict-transport-security"]


def test_behind_a_proxy_forms_need_their_token(behind: Served) -> None:
    """The proxy vouches for the person, not for what a page elsewhere makes them send."""
    headers = _named("anna", "lead")
    with behind.client() as client:
        page = client.get("/studies", headers=headers)
        name, _, rest = page.headers["set-cookie"].partition("=")
        headers |= {"cookie": f"{name}={rest.partition(';')[0]}"}
        form = {"statement": "SELECT 1"}
        assert client.post("/sql", headers=headers, data=form).status_code == 403
        form |= {"form_token": token_in(page.text)}
        assert client.post("/sql", headers=headers, data=form).status_code == 200
