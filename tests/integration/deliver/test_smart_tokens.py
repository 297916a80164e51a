"""H-04: tokens that end in mid-batch, keys that change, clocks that differ, no assertion twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from structlog.testing import capture_logs

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.demo.ehr import StandInEhr
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.outcome import Dead, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.clock import FakeClock
from tests.support.far_sides import RawServer
from tests.support.publications import delivered, imaging_study, publication
from tests.support.smart_tokens import SmartTokens

KEYS = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("old", "new")}


def _pem(name: str) -> bytes:
    return KEYS[name].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _jwk(name: str, **more: Any) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(KEYS[name], as_dict=True), "kid": name, **more}


@dataclass
class Site:
    """A client with a key file, the token endpoint and the FHIR server that it asks."""

    file: Path
    ehr: StandInEhr
    tokens: SmartTokens
    client: FhirClient

    def write(self, *names: str) -> None:
        """Replace the key file: JSON Web Keys in this order."""
        self.file.write_text(json.dumps({"keys": [_jwk(name) for name in names]}))

    def knows(self, *names: str) -> None:
        """Let the authorization server know these public keys, and no tokens any more."""
        self.tokens.published = {name: KEYS[name].public_key() for name in names}
        self.tokens.good.clear()

    def read(self) -> int:
        """Ask the FHIR server something."""
        return self.client.read("ImagingStudy", "1").status


@pytest.fixture
def site(ehr: StandInEhr, connect: ConnectFhir, clock: FakeClock, tmp_path: Path) -> Iterator[Site]:
    """A site whose server knows the old key, in PEM."""
    tokens = SmartTokens(clock)
    file = tmp_path / "key"
    file.write_bytes(_pem("old"))
    with RawServer(tokens.behave) as server:
        ehr.authorize = tokens.judge
        auth = {
            "type": "smart_backend",
            "client_id": "us",
            "private_key_file": file,
            "kid": "old",
            "algorithm": "ES384",
            "token_url": f"{server.url}/token",
        }
        site = Site(file, ehr, tokens, connect(ehr.base_url, auth=auth))
        site.knows("old")
        yield site


def test_h04_a_key_file_that_is_replaced_counts_from_the_next_token_on(site: Site) -> None:
    """A new key with its own kid takes over while the program runs, and no delivery fails."""
    delivered(site.client.publish(publication(imaging_study())))
    site.write("new")
    site.knows("new")
    delivered(site.client.publish(publication(imaging_study("1.2.4"), "1.2.4")))
    assert site.tokens.asked == [("old", ""), ("new", "")]


@pytest.mark.parametrize(("known", "asked"), [("old", ["new", "old"]), ("new", ["new"])])
def test_h04_while_there_are_two_keys_the_one_that_the_server_knows_is_used(
    site: Site, known: str, asked: list[str]
) -> None:
    """The newest is tried first; a server that has not heard of it yet gets the old one."""
    site.write("new", "old")
    site.knows(known)
    delivered(site.client.publish(publication(imaging_study())))
    assert [kid for kid, _ in site.tokens.asked] == asked


@pytest.mark.parametrize("content", [b"", b"half a k", b'{"keys": []}', b'{"keys": [{"d": 1}]}'])
def test_h04_a_file_that_is_half_written_leaves_the_key_of_before(
    site: Site, content: bytes
) -> None:
    """What cannot be read is told in the log, and the work goes on."""
    site.file.write_bytes(content)
    with capture_logs() as logged:
        delivered(site.client.publish(publication(imaging_study())))
    assert "key_not_replaced" in [one["event"] for one in logged]


@pytest.mark.parametrize("minutes", [-5, -2, 2, 5])
def test_h04_clocks_that_differ_by_minutes(site: Site, minutes: int, clock: FakeClock) -> None:
    """The server's own time is taken from its refusal, and kept for the tokens after that."""
    site.tokens.ahead = timedelta(minutes=minutes)
    delivered(site.client.publish(publication(imaging_study())))
    asked = len(site.tokens.asked)
    assert asked <= 2
    clock.advance(250)
    assert site.read() == 404
    assert len(site.tokens.asked) == asked + 1
    assert site.tokens.asked[-1] == ("old", "")


def test_h04_a_clock_that_is_an_hour_off_is_for_a_person(site: Site) -> None:
    """Nothing is signed for a far future; the message says how far the clocks differ."""
    site.tokens.ahead = timedelta(hours=1)
    outcome = site.client.publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    assert "its clock and ours differ by 3600 s" in outcome.detail
    assert len(site.tokens.asked) == 1


def test_h04_no_assertion_is_used_twice(site: Site) -> None:
    """Not for eight workers over many tokens, not after a refusal, not after a lost answer."""
    site.tokens.drop_next = True
    assert isinstance(site.client.publish(publication(imaging_study())), Retry)
    site.tokens.ahead = timedelta(minutes=5)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(12):
            site.tokens.good.clear()
            assert set(pool.map(lambda _: site.read(), range(8))) == {404}
    refusals = {refusal for _, refusal in site.tokens.asked}
    assert "used before" not in refusals
    assert len(site.tokens.seen) == len(set(site.tokens.seen)) >= 13


def test_h04_one_renewal_for_eight_workers(site: Site) -> None:
    """A token that ends in mid-batch costs one request, and no delivery."""
    site.client.metadata()
    site.tokens.good.clear()
    together = threading.Barrier(8, timeout=30)

    def judge(header: str) -> bool:
        if header == "Bearer token-1":
            together.wait()
        return site.tokens.judge(header)

    def publish(number: int) -> object:
        uid = f"1.2.{number}"
        return site.client.publish(publication(imaging_study(uid), uid))

    site.ehr.authorize = judge
    with ThreadPoolExecutor(8) as pool:
        for outcome in pool.map(publish, range(3, 11)):
            delivered(outcome)
    assert len(site.tokens.asked) == 2
    assert len(site.ehr.resources("ImagingStudy")) == 8


BAD_KEYS: Mapping[str, Any] = {
    "a public half": {key: value for key, value in _jwk("old").items() if key != "d"},
    "of another algorithm": _jwk("old", alg="RS384"),
    "without kid": {key: value for key, value in _jwk("old").items() if key != "kid"},
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_cannot_sign_shows_at_the_start(
    name: str, connect: ConnectFhir, tmp_path: Path
) -> None:
    """A JSON Web Key that is of no use here is told with its file."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(BAD_KEYS[name]))
    auth = {
        "type": "smart_backend",
        "client_id": "us",
        "private_key_file": file,
        "algorithm": "ES384",
    }
    with pytest.raises(ConfigurationError, match=r"key\.json"):
        connect("http://127.0.0.1:9/fhir", auth=auth)
