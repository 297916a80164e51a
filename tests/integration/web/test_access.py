"""W-02: every route, for everybody, with and without what a request has to bring."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from intu_fhir.web.access.attempts import Attempts
from intu_fhir.web.access.roles import Role
from intu_fhir.web.access.tokens import new_token
from intu_fhir.web.api.document import api_document
from intu_fhir.web.http.needs import Needs
from intu_fhir.web.pages.table import routes
from tests.support.web import PASSWORDS, Served, give_token, log_in, token_in

PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/login/oidc"),
    ("GET", "/login/oidc/return"),
}
"""What needs no login; to add one here is a decision."""

FILLED = {
    "uid": "1.2.3",
    "series": "1.2.3.4",
    "key": "1",
    "name": "ehr",
    "number": "1",
    "cause": "0",
    "study": "1.2.3",
    "instance": "1.2.3.4.5",
    "frames": "1",
    "path": "7FE00010",
}


def _routes(app: FastAPI) -> Iterator[APIRoute]:
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            assert getattr(route, "path", "") == "/static", "only static files have no role"


def _needed(route: APIRoute) -> Role | None:
    calls = [d.call for d in route.dependant.dependencies]
    return max((c.role for c in calls if isinstance(c, Needs)), default=None)


def _filled(path: str) -> str:
    return path.split(":")[0].format(**FILLED) if ":" in path else path.format(**FILLED)


def _ask(client: httpx.Client, route: APIRoute, method: str, **options: object) -> httpx.Response:
    return client.request(method, _filled(route.path_format), **options)  # type: ignore[arg-type]


def test_every_route_has_a_role_or_is_known_to_be_public(guarded_page: Served) -> None:
    """No route is open by oversight: it needs a role, or stands in the list of public ones."""
    app = guarded_page.page.site  # the application is made of the same table
    declared: dict[tuple[str, str], Role | None] = {
        (route.method, route.path): route.needs for route in routes(app.web)
    }
    assert {key for key, needs in declared.items() if needs is None} <= PUBLIC
    assert len(declared) == len(routes(app.web)), "no route stands twice"


def test_the_table_is_what_is_served(guarded_page: Served) -> None:
    """Each route of the application asks for the role that the table names."""
    table = {(r.method, r.path): r.needs for r in routes(guarded_page.page.site.web)}
    for route in _routes(guarded_page.page.application):
        for method in route.methods:
            if (method, route.path) in table:
                assert _needed(route) == table[method, route.path]
            else:
                assert _needed(route) is not None, f"{method} {route.path} is open"


def test_every_route_of_the_api_names_its_role(guarded_page: Served) -> None:
    """The OpenAPI document tells the role that each route really asks for."""
    document = api_document(guarded_page.page.site.web)
    told = {
        (method.upper(), path): operation["x-role"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    asked = {
        (method, route.path): needed.word
        for route, method, needed in _walk(guarded_page)
        if route.path.startswith("/api/") and route.include_in_schema
    }
    assert told == asked


def _walk(served: Served) -> list[tuple[APIRoute, str, Role]]:
    found = []
    for route in _routes(served.page.application):
        needed = _needed(route)
        if needed is not None:
            found += [(route, method, needed) for method in sorted(route.methods)]
    assert found
    return found


def test_nobody_gets_in_without_login(guarded_page: Served) -> None:
    """Without a session every route that needs a role leads to the login, or says 401 or 403."""
    for route, method, _ in _walk(guarded_page):
        with guarded_page.client() as client:
            answer = _ask(client, route, method)
        is_led = answer.status_code == 303 and answer.headers["location"].startswith("/login?")
        assert is_led or answer.status_code in {401, 403}, f"{method} {route.path}"
        assert "set-cookie" not in answer.headers or "HttpOnly" in answer.headers["set-cookie"]


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
def test_each_role_gets_what_it_may(guarded_page: Served, role: Role) -> None:
    """Each role is let through where its role is enough, and gets 403 everywhere else."""
    with guarded_page.logged_in(role) as client:
        token = token_in(client.get("/").text)
        for route, method, needed in _walk(guarded_page):
            fields = {"data": {"form_token": token}} if method == "POST" else {}
            answer = _ask(client, route, method, **fields)
            refused = answer.status_code == 403
            assert refused == (role < needed), f"{method} {route.path}: {answer.status_code}"
            assert answer.status_code < 500, f"{method} {route.path}: {answer.text[:500]}"


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
def test_each_token_gets_what_it_may(guarded_page: Served, role: Role) -> None:
    """A token of each role is let through where its role is enough, and gets 403 elsewhere."""
    headers = give_token(guarded_page, f"matrix-{role.word}", role)
    with guarded_page.client() as client:
        for route, method, needed in _walk(guarded_page):
            answer = _ask(client, route, method, headers=headers)
            refused = answer.status_code == 403
            assert refused == (role < needed), f"{method} {route.path}: {answer.status_code}"
            assert answer.status_code < 500, f"{method} {route.path}: {answer.text[:500]}"


def test_a_wrong_token_opens_no_route(guarded_page: Served) -> None:
    """A token that is none of ours gets 401 on every route that needs a role, then has to wait."""
    headers = {"authorization": f"Bearer {new_token()}"}
    with guarded_page.client() as client:
        for route, method, _ in _walk(guarded_page):
            answer = _ask(client, route, method, headers=headers)
            assert answer.status_code in {401, 429}, f"{method} {route.path}"
    guarded_page.page.site.attempts.succeeded("token:127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-form-token": "0" * 64},
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"content-type": "text/plain"},
        {"content-type": "multipart/form-data; boundary=x"},
    ],
    ids=lambda headers: ",".join(headers) or "no token",
)
def test_what_changes_something_has_to_be_meant(
    guarded_page: Served, headers: dict[str, str]
) -> None:
    """Without the token of a page of ours, or from another site, every POST gets 403."""
    with guarded_page.logged_in(Role.ADMINISTRATOR) as client:
        token = token_in(client.get("/").text)
        is_foreign = "origin" in headers or "sec-fetch-site" in headers
        for route in _routes(guarded_page.page.application):
            if "POST" not in route.methods:
                continue
            body = f"form_token={token}" if is_foreign else ""
            kind = {"content-type": "application/x-www-form-urlencoded"}
            answer = client.post(
                _filled(route.path_format), content=body, headers={**kind, **headers}
            )
            assert answer.status_code == 403, route.path


def test_a_token_of_another_visit_is_worth_nothing(guarded_page: Served) -> None:
    """The token of one session opens no form of another one."""
    with (
        guarded_page.logged_in(Role.OPERATOR) as one,
        guarded_page.logged_in(Role.ADMINISTRATOR) as other,
    ):
        stolen = token_in(one.get("/").text)
        assert other.post("/logout", data={"form_token": stolen}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "a@127.0.0.1", "x/y"]
)
def test_another_name_is_refused(guarded_page: Served, host: str) -> None:
    """A Host that is none of our names gets 421 on every route, whoever asks (DNS rebinding)."""
    with guarded_page.logged_in(Role.ADMINISTRATOR) as client:
        for route in _routes(guarded_page.page.application):
            for method in route.methods:
                answer = _ask(client, route, method, headers={"host": host})
                assert answer.status_code == 421, f"{method} {route.path}"


def test_no_page_of_elsewhere_may_read_answers(guarded_page: Served) -> None:
    """No answer carries a CORS header, and a preflight is not answered."""
    with guarded_page.logged_in(Role.ADMINISTRATOR) as client:
        for route in _routes(guarded_page.page.application):
            headers = {
                "origin": "https://elsewhere.example",
                "access-control-request-method": "POST",
            }
            for method in (*route.methods, "OPTIONS"):
                answer = _ask(client, route, method, headers=headers)
                assert not [h for h in answer.headers if h.startswith("access-control")]
            assert answer.status_code in {404, 405}


def test_every_answer_has_the_headers_that_protect(guarded_page: Served) -> None:
    """Every answer forbids inline script and foreign content, sniffing, framing and caching."""
    with guarded_page.logged_in(Role.ADMINISTRATOR) as client:
        for route in _routes(guarded_page.page.application):
            for method in route.methods:
                answer = _ask(client, route, method)
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["cache-control"] == "no-store"
                assert "frame-ancestors 'none'" in policy


def test_a_wrong_password_is_slowed_down(guarded_page: Served) -> None:
    """After some failures in a row even the right password has to wait."""
    with guarded_page.client() as client:
        for _ in range(5):
            assert log_in(client, "nobody", "wrong wrong wrong").status_code == 401
        answer = log_in(client, "nobody", "wrong wrong wrong")
        assert answer.status_code == 429
        # The address has to wait as well, so that names are not simply tried one by one.
        assert log_in(client, "viewer", PASSWORDS[Role.VIEWER]).status_code == 429
    guarded_page.page.site.attempts = Attempts()


def test_a_logout_ends_copies_of_the_cookie(guarded_page: Served) -> None:
    """Whoever has copied a session's cookie is out when its owner logs out."""
    with guarded_page.logged_in(Role.VIEWER) as client, guarded_page.client() as thief:
        for name, value in client.cookies.items():
            thief.cookies.set(name, value)
        assert thief.get("/").status_code == 200
        client.post("/logout", data={"form_token": token_in(client.get("/").text)})
        assert thief.get("/").status_code == 303


def test_a_login_begins_a_new_session(guarded_page: Served) -> None:
    """The cookie from before the login is not the one after it (session fixation)."""
    with guarded_page.client() as client:
        client.get("/login")
        before = dict(client.cookies)
        log_in(client, "viewer", PASSWORDS[Role.VIEWER])
        assert dict(client.cookies) != before
        client.cookies.clear()
        for name, value in before.items():
            client.cookies.set(name, value)
        assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "/x\r\nset-cookie:a=b"]
)
def test_a_login_leads_nowhere_else(guarded_page: Served, path: str) -> None:
    """Where to go on after the login is a path of ours, whatever the address says."""
    with guarded_page.client() as client:
        answer = log_in(client, "viewer", PASSWORDS[Role.VIEWER], next=path)
        assert answer.headers["location"] == "/"


def test_who_is_removed_is_out_at_once(guarded_page: Served) -> None:
    """A session does not outlive its line in the file of people."""
    people = guarded_page.page.site.web.users_file
    assert people is not None
    text = people.read_text()
    with guarded_page.logged_in(Role.OPERATOR) as client:
        assert client.get("/").status_code == 200
        try:
            people.write_text(
                "".join(line for line in text.splitlines(True) if not line.startswith("operator:"))
            )
            assert client.get("/").status_code == 303
        finally:
            people.write_text(text)
