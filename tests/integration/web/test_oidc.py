"""Logging in with an identity provider: who comes in, and what is turned away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
import sqlalchemy as sa

from intu_fhir.db.tables import audit_events
from intu_fhir.web.access.oidc import Provider as OurSide
from intu_fhir.web.pages.oidc import PATIENCE
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url
from tests.support.identity import CLIENT, SECRET, Provider, identity_provider, new_key
from tests.support.ports import free_port
from tests.support.web import Served, serving, token_in

ROLES = {"viewer": ["radiology"], "operator": ["imaging-it"], "administrator": ["lead"]}


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Provider]]:
    """A page whose people log in at a provider on this machine."""
    folder = tmp_path_factory.mktemp("oidc")
    port = free_port()
    with identity_provider() as provider:
        oidc = {
            "issuer": provider.url,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "redirect_url": f"http://127.0.0.1:{port}/login/oidc/return",
            "roles": ROLES,
            "timeout_seconds": 5,
        }
        url = sqlite_url(folder / "staging.db")
        with serving(folder, url, web={"port": port, "oidc": oidc}) as served:
            yield served, provider


@pytest.fixture
def served(around: tuple[Served, Provider]) -> Iterator[Served]:
    """The page, which has asked the provider nothing yet."""
    site = around[0].page.site
    before, site.clock = site.clock, FakeClock()
    site.__dict__["provider"] = OurSide(site.web.oidc, site.clock)  # type: ignore[arg-type]
    yield around[0]
    site.__dict__.pop("provider").close()
    site.clock = before


@pytest.fixture
def provider(around: tuple[Served, Provider]) -> Provider:
    """The provider as it should be, with an operator who wants to log in."""
    fresh = Provider(around[1].url, key=around[1].key)
    fresh.person = {"preferred_username": "anna", "groups": ["imaging-it", "staff"]}
    around[1].__dict__.update(fresh.__dict__)
    return around[1]


def _go(client: httpx.Client, path: str = "/login/oidc?next=/studies") -> httpx.Response:
    """Go to the provider and be sent back; return where that leads."""
    away = client.get(path)
    assert away.status_code == 303, away.text
    back = httpx.get(away.headers["location"])
    return client.get(back.headers["location"])


def _recorded(served: Served) -> list[tuple[str, str, str]]:
    c = audit_events.c
    wanted = sa.select(c.outcome, c.actor, c.reason).where(c.action == "signed_in")
    with served.page.site.database.read() as connection:
        return [tuple(row) for row in connection.execute(wanted.order_by(c.audit_event_key))]


def _sent(served: Served, client: httpx.Client) -> dict[str, str]:
    location = client.get("/login/oidc").headers["location"]
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def test_a_person_comes_in_with_the_role_of_their_groups(
    served: Served, provider: Provider
) -> None:
    """Who logs in at the provider has the highest role of their groups, and is in the trail."""
    with served.client() as client:
        answer = _go(client)
        assert (answer.status_code, answer.headers["location"]) == (303, "/studies")
        page = client.get("/studies")
        assert page.status_code == 200
        assert "anna" in page.text
        assert client.get("/audit").status_code == 403
        token = token_in(page.text)
        client.post("/logout", data={"form_token": token})
        assert client.get("/studies").status_code == 303
    assert _recorded(served)[-1] == ("success", "anna", "oidc")


def test_the_way_there_is_tied_to_this_browser(served: Served, provider: Provider) -> None:
    """State, nonce and PKCE challenge are new for each login, and the cookie is out of reach."""
    with served.client() as client:
        one, other = _sent(served, client), _sent(served, client)
        answer = client.get("/login/oidc")
    assert one["code_challenge_method"] == "S256"
    assert {"state", "nonce", "code_challenge"} <= {k for k in one if one[k] != other[k]}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_an_answer_of_another_login_is_refused(served: Served, provider: Provider) -> None:
    """What somebody else began, is used twice, or comes without a beginning, opens nothing."""
    with served.client() as one, served.client() as other:
        location = one.get("/login/oidc").headers["location"]
        back = httpx.get(location).headers["location"]
        assert other.get(back).status_code == 401
        other.get("/login/oidc")
        assert other.get(back).status_code == 401, "it has begun another one"
        assert "/token" not in provider.asked
        assert other.get("/studies").status_code == 303
        assert one.get(back).status_code == 303
        assert one.get(back).status_code == 401, "a second time"
        assert other.get("/login/oidc/return?code=x").status_code == 401
        assert other.get("/login/oidc/return?state=&code=x").status_code == 401


def test_an_answer_that_comes_late_is_refused(served: Served, provider: Provider) -> None:
    """After ten minutes a login has to be begun again."""
    clock = served.page.site.clock
    assert isinstance(clock, FakeClock)
    with served.client() as client:
        back = httpx.get(client.get("/login/oidc").headers["location"]).headers["location"]
        clock.advance(PATIENCE.total_seconds() + 1)
        assert client.get(back).status_code == 401


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def _with(**changed: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {**claims, **changed}


FOREIGN = new_key()
WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"change": _with(iss="https://elsewhere.example")},
    "another audience": {"change": _with(aud="somebody-else")},
    "given to another client": {"change": _with(aud=[CLIENT, "other"], azp="other")},
    "another nonce": {"change": _with(nonce="x")},
    "no nonce": {"change": _without("nonce")},
    "expired": {"change": _with(exp=int(time.time()) - 120)},
    "not yet": {"change": _with(iat=int(time.time()) + 86_400)},
    "no end": {"change": _without("exp")},
    "no subject": {"change": _without("sub")},
    "no signature": {"sign": lambda claims: jwt.encode(claims, None, "none")},
    "signed with the client's secret": {
        "sign": lambda claims: jwt.encode(
            claims, SECRET.ljust(32, "."), "HS256", headers={"kid": "k1"}
        )
    },
    "signed with a foreign key": {
        "sign": lambda claims: jwt.encode(claims, FOREIGN, "RS256", headers={"kid": "k1"})
    },
    "signed with a key of another kind": {
        "sign": lambda claims: jwt.encode(claims, FOREIGN, "RS256", headers={"kid": "other"})
    },
    "signed with an unknown key": {
        "sign": lambda claims: jwt.encode(claims, FOREIGN, "RS256", headers={"kid": "k9"})
    },
    "no token at all": {"sign": lambda claims: "x.y.z"},
    "userinfo of somebody else": {"in_userinfo": {"sub": "1"}, "person": {}},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_token_that_proves_nobody_is_refused(
    name: str, served: Served, provider: Provider
) -> None:
    """Whatever is wrong with the ID token: 401, nobody is logged in, and it is in the trail."""
    provider.__dict__.update(WRONG[name])
    with served.client() as client:
        answer = _go(client)
        assert answer.status_code == 401, answer.text
        assert "The login did not work" in answer.text
        assert client.get("/studies").status_code == 303
    assert _recorded(served)[-1][0] == "minor"


@pytest.mark.parametrize("groups", [[], ["staff"], None, 7, "staff", [["lead"]]])
def test_who_has_no_role_does_not_come_in(groups: Any, served: Served, provider: Provider) -> None:
    """A person of whom no group has a role is told so."""
    provider.person = {"preferred_username": "olga", "groups": groups}
    with served.client() as client:
        answer = _go(client)
        assert answer.status_code == 403
        assert "none of your groups has a role" in answer.text
        assert client.get("/studies").status_code == 303


def test_claims_may_stand_in_userinfo(served: Served, provider: Provider) -> None:
    """What the ID token does not say is asked of the userinfo endpoint."""
    provider.person = {}
    provider.in_userinfo = {"preferred_username": "lea", "groups": "lead"}
    with served.client() as client:
        assert _go(client).status_code == 303
        assert client.get("/audit").status_code == 200


def test_a_client_may_have_to_prove_itself_in_the_body(served: Served, provider: Provider) -> None:
    """Where the provider takes client_secret_post alone, that is used."""
    provider.methods = ["client_secret_post"]
    with served.client() as client:
        assert _go(client).status_code == 303


def test_a_new_key_is_found(served: Served, provider: Provider) -> None:
    """After the provider has changed its keys a login works, and keys are not asked for each."""
    clock = served.page.site.clock
    assert isinstance(clock, FakeClock)
    with served.client() as client:
        assert _go(client).status_code == 303
        assert _go(client).status_code == 303
        assert provider.asked.count("/keys") == 1
        provider.key, provider.key_id = new_key(), "k2"
        assert _go(client).status_code == 401, "they were read just now"
        clock.advance(31)
        assert _go(client).status_code == 303
    assert provider.asked.count("/keys") == 2


def test_a_provider_that_is_another_one_is_not_asked_to_log_in(
    served: Served, provider: Provider
) -> None:
    """A description that names another issuer, or no address over TLS, is told as such."""
    for wrong in ({"issuer": "https://elsewhere.example"}, {"authorization_endpoint": "ftp://x"}):
        provider.metadata = wrong
        served.page.site.provider._metadata_at = float("-inf")
        with served.client() as client:
            answer = client.get("/login/oidc")
        assert answer.status_code == 503
        assert "web.oidc.issuer" in answer.text


def test_where_to_go_on_is_a_path_of_ours(served: Served, provider: Provider) -> None:
    """The login leads nowhere else, whatever its address says."""
    with served.client() as client:
        answer = _go(client, "/login/oidc?next=https://evil.example/")
        assert answer.headers["location"] == "/"
        assert _go(client, "/login/oidc?next=//evil.example").headers["location"] == "/"


def test_a_provider_that_is_away_is_told(served: Served, provider: Provider) -> None:
    """Where nothing answers at the issuer the login says so, with 503."""
    site = served.page.site
    gone = site.web.oidc.model_copy(update={"issuer": f"http://127.0.0.1:{free_port()}"})
    site.__dict__["provider"] = OurSide(gone, site.clock)
    with served.client() as client:
        answer = client.get("/login/oidc")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
