"""Who asks: fixed credentials, OAuth 2 and SMART Backend Services against real token endpoints."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from intu_fhir.deliver.answers import Answer
from intu_fhir.deliver.auth import TokenHeader, TokenUnavailable
from intu_fhir.deliver.capability import Capability
from intu_fhir.demo.ehr import Fault, StandInEhr
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.outcome import Dead, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.assertions import verified_claims
from tests.support.clock import FakeClock
from tests.support.far_sides import Peer, RawServer
from tests.support.publications import delivered, imaging_study, publication

KEYS: dict[str, Any] = {
    "RS384": rsa.generate_private_key(65_537, 2048),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
}


class TokenServer:
    """Hands out numbered tokens, and judges them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.good: set[str] = set()
        self.answers: list[tuple[int, bytes]] = []
        self.life: Any = 300
        self.pause = 0.0
        self.smart = True
        self.port = 0
        self._lock = threading.Lock()

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"http://127.0.0.1:{self.port}/token"

    def behave(self, peer: Peer) -> None:
        """Answer one connection."""
        while True:
            head, body = peer.request()
            if head.startswith("GET"):
                found = json.dumps({"token_endpoint": self.token_url}).encode()
                peer.reply(200, found) if self.smart else peer.reply(404)
                continue
            fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            with self._lock:
                self.requests.append((head, fields))
                number = len(self.requests)
                scripted = self.answers.pop(0) if self.answers else None
            if self.pause:
                peer.wait(self.pause)
            if scripted:
                peer.reply(*scripted)
                continue
            token = f"token-{number}"
            self.good.add(f"Bearer {token}")
            granted = {"access_token": token, "token_type": "bearer", "expires_in": self.life}
            peer.reply(200, json.dumps(granted).encode())

    def judge(self, header: str) -> bool:
        """Say whether a FHIR server takes this header."""
        return header in self.good


@pytest.fixture
def tokens(ehr: StandInEhr) -> Iterator[TokenServer]:
    """A token endpoint whose tokens the stand-in EHR wants to see."""
    tokens = TokenServer()
    with RawServer(tokens.behave) as server:
        tokens.port = server.port
        ehr.authorize = tokens.judge
        yield tokens


def _oauth2(tokens: TokenServer) -> dict[str, Any]:
    return {
        "type": "oauth2",
        "token_url": tokens.token_url,
        "client_id": "us: 100%",
        "client_secret": "canary secret/+",
        "scope": "system/ImagingStudy.crus",
    }


def _smart(folder: Path, algorithm: str = "RS384", **more: Any) -> dict[str, Any]:
    path = folder / "key.pem"
    path.write_bytes(
        KEYS[algorithm].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {
        "type": "smart_backend",
        "client_id": "us",
        "private_key_file": path,
        "kid": "key-1",
        "algorithm": algorithm,
        **more,
    }


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "none"}, ""),
        (
            {"type": "basic", "username": "u", "password": "p:ä"},
            "Basic " + base64.b64encode("u:p:ä".encode()).decode(),
        ),
        ({"type": "bearer", "token": "abc"}, "Bearer abc"),
    ],
)
def test_fixed_credentials(
    ehr: StandInEhr, connect: ConnectFhir, auth: dict[str, str], header: str
) -> None:
    """None, basic and bearer send what is configured."""
    delivered(connect(ehr.base_url, auth=auth).publish(publication(imaging_study())))
    assert {r.headers.get("authorization", "") for r in ehr.received} == {header}


def test_fixed_credentials_that_are_refused(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """401 to fixed credentials is for a person; it is not tried in a circle."""
    ehr.authorize = lambda header: False
    client = connect(ehr.base_url, auth={"type": "bearer", "token": "abc"})
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    assert "check auth" in outcome.detail
    assert len(ehr.received) == 2


def test_oauth2_client_credentials(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer
) -> None:
    """One token serves many requests; the secret goes by basic, form-encoded as RFC 6749 says."""
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    for uid in ("1.2.3", "1.2.4"):
        delivered(client.publish(publication(imaging_study(uid), uid)))
    ((head, fields),) = tokens.requests
    assert fields == {"grant_type": "client_credentials", "scope": "system/ImagingStudy.crus"}
    encoded = base64.b64encode(b"us%3A%20100%25:canary%20secret%2F%2B").decode()
    assert f"Basic {encoded}" in head


def test_token_is_renewed_at_four_fifths_of_its_life(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer, clock: FakeClock
) -> None:
    """A token is replaced before it ends, and not much earlier."""
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    client.metadata()
    clock.advance(239)
    client.read("ImagingStudy", "1")
    assert len(tokens.requests) == 1
    clock.advance(2)
    client.read("ImagingStudy", "1")
    assert len(tokens.requests) == 2


@pytest.mark.parametrize("life", [None, "300", "soon", -1, 0, 1e99, []])
def test_any_life_of_a_token(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer, life: Any
) -> None:
    """A life that is missing or makes no sense counts as five minutes."""
    tokens.life = life
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    for _ in range(3):
        client.read("ImagingStudy", "1")
    assert len(tokens.requests) == 1


def test_token_that_ends_early_is_renewed_once(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer
) -> None:
    """401 in the middle of a batch costs one more token and no failed delivery."""
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    client.metadata()
    tokens.good.clear()
    delivered(client.publish(publication(imaging_study())))
    assert len(tokens.requests) == 2


def test_no_storm_when_a_token_ends(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer
) -> None:
    """Eight threads that are refused at the same moment fetch one token together."""
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    client.metadata()
    tokens.good.clear()
    together = threading.Barrier(8, timeout=10)

    def judge(header: str) -> bool:
        if header == "Bearer token-1":
            together.wait()
        return tokens.judge(header)

    ehr.authorize = judge
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.read("ImagingStudy", "1").status, range(8)))
    assert answers == [404] * 8
    assert len(tokens.requests) == 2


def test_a_token_endpoint_that_hangs_is_waited_for_once(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer
) -> None:
    """Many threads that need a token share one try, and wait no longer than it takes."""
    timeout, threads = 1.0, 6
    tokens.pause = 60.0
    client = connect(ehr.base_url, auth=_oauth2(tokens), timeout_seconds=timeout)
    together = threading.Barrier(threads)

    def ask(_: int) -> object:
        together.wait()
        return client.metadata()

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(ask, range(threads)))
    assert time.monotonic() - began < threads * timeout / 2  # one after the other: all of that
    assert len(tokens.requests) == 1
    assert all(isinstance(one, Retry) and one.silent for one in outcomes)
    tokens.pause = 0.0
    assert isinstance(client.metadata(), Capability)


def test_nobody_waits_for_ever_for_the_token_of_another(clock: FakeClock) -> None:
    """A fetch that does not end in time is given up by those that wait for it."""
    begun, end = threading.Event(), threading.Event()

    def fetch() -> Answer:
        begun.set()
        end.wait(60)
        return Answer(200, {}, b'{"access_token": "late"}')

    header = TokenHeader(fetch, clock, wait_seconds=0.1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(header.header)
        assert begun.wait(60)
        with pytest.raises(TokenUnavailable):
            header.header()
        end.set()
        assert first.result() == "Bearer late"
    assert header.header() == "Bearer late"


def test_server_that_takes_no_token_at_all(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer
) -> None:
    """A token that is refused though it is new ends the delivery, not in a circle."""
    ehr.authorize = lambda header: False
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    assert len(tokens.requests) <= 3


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "invalid_client", "error_description": "canary secret/+"}', Dead),
        (401, b'{"error": "invalid_client"}', Dead),
        (400, b'{"error": "invalid_scope"}', Dead),
        (302, b"", Dead),
        (500, b"<html>canary secret/+</html>", Retry),
        (503, b"", Retry),
        (429, b"", Retry),
        (200, b"<html>", Retry),
        (200, b"{}", Retry),
        (200, b'{"access_token": "a\\r\\nX-Forged: 1"}', Retry),
        (200, b'{"access_token": 7}', Retry),
    ],
)
def test_token_endpoint_that_refuses_or_fails(
    ehr: StandInEhr,
    connect: ConnectFhir,
    tokens: TokenServer,
    status: int,
    body: bytes,
    kind: type[Dead] | type[Retry],
) -> None:
    """A client that is not accepted is for a person; an endpoint that fails is tried again."""
    tokens.answers = [(status, body)]
    outcome = connect(ehr.base_url, auth=_oauth2(tokens)).publish(publication(imaging_study()))
    assert isinstance(outcome, kind)
    assert "canary secret" not in outcome.detail
    assert ehr.received == []


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_smart_backend_services(
    ehr: StandInEhr,
    connect: ConnectFhir,
    tokens: TokenServer,
    tmp_path: Path,
    clock: FakeClock,
    algorithm: str,
) -> None:
    """The assertion is signed, short-lived, for this endpoint and never used twice."""
    auth = _smart(tmp_path, algorithm, token_url=tokens.token_url)
    client = connect(ehr.base_url, auth=auth)
    client.metadata()
    clock.advance(250)
    delivered(client.publish(publication(imaging_study())))
    fields = [fields for _, fields in tokens.requests]
    assert len(fields) == 2
    assert fields[0]["client_assertion_type"].endswith("jwt-bearer")
    claims = []
    for field in fields:
        assertion = field["client_assertion"]
        header = jwt.get_unverified_header(assertion)
        assert (header["alg"], header["kid"], header["typ"]) == (algorithm, "key-1", "JWT")
        claims.append(verified_claims(assertion, KEYS[algorithm].public_key()))
    assert all(claim["aud"] == tokens.token_url for claim in claims)
    assert claims[0]["jti"] != claims[1]["jti"]
    assert all(claim["iss"] == claim["sub"] == "us" for claim in claims)
    now = clock.now().timestamp()
    assert 0 < claims[1]["exp"] - now <= 300
    assert claims[1]["iat"] <= now


def test_smart_configuration_is_discovered(connect: ConnectFhir, tmp_path: Path) -> None:
    """Without token_url the FHIR server's smart-configuration names the endpoint."""
    tokens = TokenServer()
    with RawServer(tokens.behave) as server:
        tokens.port = server.port
        client = connect(f"{server.url}/fhir", auth=_smart(tmp_path))
        client.metadata()
        first = server.peers[0]
    assert b"GET /fhir/.well-known/smart-configuration" in first.received
    assert len(tokens.requests) == 1


def test_smart_configuration_that_is_missing(connect: ConnectFhir, tmp_path: Path) -> None:
    """A server without discovery asks for token_url in the configuration."""
    tokens = TokenServer()
    tokens.smart = False
    with RawServer(tokens.behave) as server:
        tokens.port = server.port
        client = connect(f"{server.url}/fhir", auth=_smart(tmp_path))
        outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    assert "set auth.token_url" in outcome.detail


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff\xfe"])
def test_key_that_is_none(tmp_path: Path, connect: ConnectFhir, content: bytes) -> None:
    """A wrong key shows at the start, by the name of its file."""
    auth = _smart(tmp_path)
    auth["private_key_file"].write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"key\.pem"):
        connect("http://127.0.0.1:9/fhir", auth=auth)


def test_key_that_does_not_fit_its_algorithm(tmp_path: Path, connect: ConnectFhir) -> None:
    """An RSA key cannot sign with an elliptic curve."""
    auth = {**_smart(tmp_path), "algorithm": "ES384"}
    with pytest.raises(ConfigurationError, match="ES384"):
        connect("http://127.0.0.1:9/fhir", auth=auth)


def test_token_never_goes_to_the_token_endpoints_friends(
    ehr: StandInEhr, connect: ConnectFhir, tokens: TokenServer
) -> None:
    """A token that was renewed goes to the FHIR server alone."""
    client = connect(ehr.base_url, auth=_oauth2(tokens))
    ehr.fail_next(Fault(401))
    delivered(client.publish(publication(imaging_study())))
    assert not any("Bearer" in head for head, _ in tokens.requests)
