"""Servers that drip, bomb, redirect and lie: bounded in time and memory, and never believed."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import resource
import ssl
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from intu_fhir.deliver.exchange import Exchange, NoAnswer
from intu_fhir.deliver.server import MAX_ANSWER_BYTES
from intu_fhir.demo.ehr import Fault, StandInEhr
from intu_fhir.model.outcome import Dead, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.certificates import Authority
from tests.support.far_sides import Behaviour, Peer, RawServer
from tests.support.publications import delivered, imaging_study, publication

DEADLINE = 0.6
MARGIN = 0.6
CAP = 1 << 20
MEBI = 1 << 20
FHIR = "application/fhir+json"


def _drip_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        peer.send(f"X-{number}: y\r\n".encode())
        peer.wait(0.05)


def _drip_bytes(peer: Peer) -> None:
    peer.request()
    while True:
        peer.send(b"H")
        peer.wait(0.05)


def _drip_body(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        peer.send(b" ")
        peer.wait(0.05)


def _silent(peer: Peer) -> None:
    peer.request()
    peer.wait()


def _never_reads(peer: Peer) -> None:
    peer.wait()


def _endless_body(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    while True:
        peer.send(chunk)


def _huge_body(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    while True:
        peer.send(b" " * 65_536)


def _bomb(wbits: int, coding: str) -> Behaviour:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    body = b"".join(packer.compress(bytes(MEBI)) for _ in range(256)) + packer.flush()

    def behave(peer: Peer) -> None:
        peer.request()
        peer.reply(200, body, Content_Encoding=coding)

    return behave


def _close_in_body(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")


def _reset(peer: Peer) -> None:
    peer.request()
    peer.reset()


def _garbage(peer: Peer) -> None:
    peer.request()
    peer.send(b"\x00\x01\x02 SSH-2.0-OpenSSH\r\n\r\n" * 10)


def _endless_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.send(b"X-Long: " + b"y" * 60_000 + b"\r\n")


def _broken_gzip(peer: Peer) -> None:
    peer.request()
    peer.reply(200, b"not gzip at all", Content_Encoding="gzip")


def _unknown_coding(peer: Peer) -> None:
    peer.request()
    peer.reply(200, b"{}", Content_Encoding="br")


BAD_SERVERS: dict[str, Behaviour] = {
    "drips header lines": _drip_head,
    "drips header bytes": _drip_bytes,
    "drips the body": _drip_body,
    "never answers": _silent,
    "never reads": _never_reads,
    "endless chunked body": _endless_body,
    "1 GB body": _huge_body,
    "gzip bomb": _bomb(31, "gzip"),
    "deflate bomb": _bomb(15, "deflate"),
    "closes inside the body": _close_in_body,
    "resets": _reset,
    "speaks something else": _garbage,
    "endless head": _endless_head,
    "broken gzip": _broken_gzip,
    "unknown coding": _unknown_coding,
}


@pytest.mark.timed
@pytest.mark.parametrize("name", BAD_SERVERS)
def test_every_answer_is_bounded(name: str) -> None:
    """No server holds a request beyond its deadline, or memory beyond the cap (H-02)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exchange = Exchange(timeout_seconds=DEADLINE, max_answer_bytes=CAP)
    with RawServer(BAD_SERVERS[name]) as server:
        started = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            exchange.send("POST", f"{server.url}/ImagingStudy", body=b"x" * 8 * MEBI)
        taken = time.monotonic() - started
    exchange.close()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert taken < DEADLINE + MARGIN
    assert caught.value.maybe_done
    assert grown < 48, f"{grown} MB"  # 8 MB are the request itself, on both sides


@pytest.mark.timed
@pytest.mark.parametrize("name", BAD_SERVERS)
def test_h02_an_answer_costs_less_than_16_mb(name: str) -> None:
    """Whatever a server sends, a small request takes no more memory than its cap and change."""
    exchange = Exchange(timeout_seconds=DEADLINE, max_answer_bytes=MAX_ANSWER_BYTES)
    with RawServer(BAD_SERVERS[name]) as server:
        gc.collect()
        before = _peak_rss_anew()
        with pytest.raises(NoAnswer):
            exchange.send("POST", f"{server.url}/ImagingStudy", body=b"{}")
        grown = _peak_rss() - before
    exchange.close()
    assert grown < 16, f"{grown} MB"


def _peak_rss_anew() -> float:
    """Forget the peak of this process's memory, and return what it takes now in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return _peak_rss()


def _peak_rss() -> float:
    """Return the peak of this process's memory in MB."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("spaces", [0, 65_536 - 26, 65_536 - 25, 1_000_000])
def test_gzip_within_the_cap_is_read(spaces: int) -> None:
    """An answer in gzip is decoded to its last byte, though none was asked for."""
    content = b'{"resourceType": "Bundle"' + b" " * spaces + b"}"
    body = gzip.compress(content)

    def behave(peer: Peer) -> None:
        text, _ = peer.request()
        assert "accept-encoding: identity" in text.lower()
        peer.reply(200, body, Content_Encoding="gzip")

    exchange = Exchange(timeout_seconds=5, max_answer_bytes=CAP)
    with RawServer(behave) as server:
        answer = exchange.send("GET", f"{server.url}/")
    exchange.close()
    assert answer.body == content
    assert answer.resource("Bundle") is not None


def test_nobody_there_is_known_not_to_have_acted() -> None:
    """A connection that was refused has done nothing."""
    exchange = Exchange(timeout_seconds=2, max_answer_bytes=CAP)
    with pytest.raises(NoAnswer) as caught:
        exchange.send("GET", "http://127.0.0.1:9/")
    exchange.close()
    assert not caught.value.maybe_done


def test_environment_does_not_choose_a_proxy(
    monkeypatch: pytest.MonkeyPatch, ehr: StandInEhr, connect: ConnectFhir
) -> None:
    """A proxy of the environment gets neither data nor tokens."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert not isinstance(connect(ehr.base_url).metadata(), (Retry, Dead))


# ---- TLS


def _https(folder: Path, authority: Authority, *, clients: bool = False) -> StandInEhr:
    certificate = authority.issue("ehr")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if clients:
        context.load_verify_locations(authority.ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return StandInEhr(folder / "ehr", tls=context)


def test_private_authority_and_client_certificate(tmp_path: Path, connect: ConnectFhir) -> None:
    """Over mutual TLS with a private authority a study is published; without a certificate not."""
    authority = Authority(tmp_path / "ca")
    ours = authority.issue("intu")
    with _https(tmp_path, authority, clients=True) as ehr:
        bare = {"ca_file": authority.ca_file}
        tls = {**bare, "cert_file": ours.cert_file, "key_file": ours.key_file}
        delivered(connect(ehr.base_url, tls=tls).publish(publication(imaging_study())))
        outcome = connect(ehr.base_url, tls=bare).publish(publication(imaging_study("1.2.4")))
        assert isinstance(outcome, Retry)
        assert len(ehr.resources()) == 1


def test_server_of_another_authority_gets_nothing(tmp_path: Path, connect: ConnectFhir) -> None:
    """A certificate that is not trusted ends the connection before a token is sent."""
    auth = {"type": "bearer", "token": "canary"}
    with _https(tmp_path, Authority(tmp_path / "a", "Strangers")) as ehr:
        for tls in (None, {"ca_file": Authority(tmp_path / "b").ca_file}):
            outcome = connect(ehr.base_url, tls=tls, auth=auth).publish(
                publication(imaging_study())
            )
            assert isinstance(outcome, Retry)
            assert "not trusted" in outcome.detail
        assert ehr.received == []


# ---- answers that look like success


def _answers(*bodies: tuple[bytes, str]) -> Behaviour:
    """Say what it can do, then give these bodies with status 200; nothing is ever found."""
    left = iter(bodies)
    statement = json.dumps({"resourceType": "CapabilityStatement"}).encode()
    nothing = json.dumps({"resourceType": "Bundle", "type": "searchset"}).encode()

    def behave(peer: Peer) -> None:
        while True:
            head, _ = peer.request()
            if "/metadata" in head:
                peer.reply(200, statement, Content_Type=FHIR)
            elif head.startswith("GET"):
                peer.reply(200, nothing, Content_Type=FHIR)
            else:
                body, kind = next(left)
                peer.reply(200, body, Content_Type=kind)

    return behave


def _other(**elements: object) -> tuple[bytes, str]:
    return json.dumps({**imaging_study(), "id": "7", **elements}).encode(), FHIR


LIES: dict[str, tuple[bytes, str]] = {
    "a page": (b"<html>Please log in</html>", "text/html"),
    "an empty object": (b"{}", FHIR),
    "truncated JSON": (_other()[0][:-20], FHIR),
    "another type": _other(resourceType="Patient"),
    "another study": _other(identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:9.9"}]),
    "no identifier": _other(identifier=[]),
    "no id": _other(id=""),
    "an id that leads elsewhere": _other(id="../Patient/1"),
    "a list": (b"[]", FHIR),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_success_that_shows_something_else_is_none(lie: str, connect: ConnectFhir) -> None:
    """200 counts only with the study's own resource (H-02)."""
    with RawServer(_answers(LIES[lie])) as server:
        outcome = connect(f"{server.url}/fhir").publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)


def test_another_id_than_the_one_written_to(connect: ConnectFhir) -> None:
    """An update by id that shows another id is no success."""
    known = publication(imaging_study())
    with RawServer(_answers(_other(id="8"))) as server:
        client = connect(f"{server.url}/fhir")
        outcome = client.publish(
            type(known)(known.study_uid, known.resource, "new", "7", "1", "old")
        )
    assert isinstance(outcome, Retry)


# ---- redirects and tokens

REDIRECTS = [301, 302, 303, 307, 308]
TARGETS: list[Callable[[str], str]] = [
    lambda trap: f"{trap}/fhir/ImagingStudy/1",
    lambda trap: trap.replace("127.0.0.1", "localhost") + "/x",
    lambda trap: trap.replace("127.0.0.1", "127.0.0.1.evil.test") + "/x",
    lambda trap: trap.replace("127.0.0.1", "2130706433") + "/x",
    lambda trap: f"http://127.0.0.1:1@{trap.removeprefix('http://')}/x",
    lambda trap: f"http://[::ffff:127.0.0.1]:{trap.rpartition(':')[2]}/x",
    lambda trap: f"//{trap.removeprefix('http://')}/x",
    lambda trap: "http://169.254.169.254/latest/meta-data/",
    lambda trap: "/elsewhere",
]


def test_https_where_http_is_spoken(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """A server that speaks no TLS is told from one that is not there, in words of ours."""
    outcome = connect(ehr.base_url.replace("http:", "https:")).publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)
    assert "answers without TLS" in outcome.detail
    assert "SSL" not in outcome.detail


@pytest.mark.parametrize("status", REDIRECTS)
def test_redirects_are_never_followed(status: int, ehr: StandInEhr, connect: ConnectFhir) -> None:
    """Whatever Location says, request, token and data stay where they were sent (H-03)."""
    client = connect(ehr.base_url, auth={"type": "bearer", "token": "canary-token"})
    with RawServer(lambda peer: peer.request() and None) as trap:
        for target in TARGETS:
            ehr.fail_next(Fault(status, {"Location": target(trap.url)}))
            outcome = client.publish(publication(imaging_study()))
            assert isinstance(outcome, Dead)
            assert "base_url" in outcome.detail
        assert trap.peers == []
    assert not any("elsewhere" in received.path for received in ehr.received)


def test_redirected_metadata_is_not_followed(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """A read is no more redirected than a write."""
    client = connect(ehr.base_url)
    with RawServer(lambda peer: peer.request() and None) as trap:
        ehr.fail_next(Fault(302, {"Location": trap.url}, on=("GET metadata",)))
        client.metadata()
        assert trap.peers == []


@pytest.mark.parametrize("path", ["token", ".well-known/smart-configuration"])
def test_h03_what_leads_to_a_token_is_not_followed_either(
    path: str, connect: ConnectFhir, tmp_path: Path
) -> None:
    """A secret or an assertion goes to the configured endpoint alone, wherever that points."""
    with RawServer(lambda peer: peer.request() and None) as trap:

        def elsewhere(peer: Peer) -> None:
            peer.request()
            peer.reply(307, Location=f"{trap.url}/{path}")

        with RawServer(elsewhere) as server:
            auth: dict[str, object] = {
                "type": "oauth2",
                "token_url": f"{server.url}/token",
                "client_id": "us",
                "client_secret": "canary-secret",
            }
            if path != "token":
                auth = {"type": "smart_backend", "client_id": "us", "kid": "1"}
                auth |= {"private_key_file": _key(tmp_path), "algorithm": "ES384"}
            outcome = connect(f"{server.url}/fhir", auth=auth).publish(publication(imaging_study()))
        assert isinstance(outcome, Dead)
        assert trap.peers == []


def _key(folder: Path) -> Path:
    file = folder / "key.pem"
    private = ec.generate_private_key(ec.SECP384R1())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, plain))
    return file


def test_h03_a_token_goes_to_the_server_it_was_fetched_for(
    ehr: StandInEhr, connect: ConnectFhir, tmp_path: Path
) -> None:
    """Two servers of one configuration never see each other's credentials."""
    with StandInEhr(tmp_path / "other") as other:
        for number, server in enumerate((ehr, other)):
            auth = {"type": "bearer", "token": f"canary-{number}"}
            delivered(connect(server.base_url, auth=auth).publish(publication(imaging_study())))
        for number, server in enumerate((ehr, other)):
            seen = {one.headers.get("authorization") for one in server.received}
            assert seen == {f"Bearer canary-{number}"}


def test_h03_a_name_that_leads_to_another_machine_gets_nothing(
    tmp_path: Path, connect: ConnectFhir
) -> None:
    """After DNS was turned to it, a host with another name's certificate sees no request."""
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue("other", "other.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    with StandInEhr(tmp_path / "ehr", tls=context) as ehr:
        auth = {"type": "bearer", "token": "canary"}
        client = connect(ehr.base_url, tls={"ca_file": authority.ca_file}, auth=auth)
        outcome = client.publish(publication(imaging_study()))
        assert isinstance(outcome, Retry)
        assert "not trusted" in outcome.detail
        assert ehr.received == []


def test_a_location_of_another_host_is_never_requested(
    ehr: StandInEhr, connect: ConnectFhir
) -> None:
    """Of Location only the id is used: it is read back from the server we know."""
    client = connect(ehr.base_url, auth={"type": "bearer", "token": "canary-token"})
    with RawServer(lambda peer: peer.request() and None) as trap:
        place = {"Location": f"{trap.url}/fhir/ImagingStudy/7"}
        ehr.fail_next(Fault(201, place, body=b""))
        assert isinstance(client.publish(publication(imaging_study())), Retry)
        assert trap.peers == []
    assert ehr.received[-1].path == "ImagingStudy/7"
