"""TLS listeners: who gets in, who does not, and that silence costs others nothing."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import ServerTls
from tests.integration.receive.conftest import StartReceiving
from tests.support.certificates import Authority, Certificate
from tests.support.programs import require
from tests.support.raw_peer import VERIFICATION_ID, associate_request, echo_command, pdu, pdv
from tests.support.receiving import Receiving


@pytest.fixture
def client(authority: Authority) -> Certificate:
    """A certificate that the listener takes."""
    return authority.issue("modality")


@pytest.fixture
def mutual(authority: Authority, start_receiving: StartReceiving) -> Receiving:
    """A listener that asks for client certificates."""
    server = authority.issue("server")
    tls = ServerTls(cert_file=server.cert_file, key_file=server.key_file, ca_file=authority.ca_file)
    return start_receiving(tls=tls)


def client_context(authority: Authority, certificate: Certificate | None) -> ssl.SSLContext:
    """Return what a modality connects with."""
    context = ssl.create_default_context(cafile=authority.ca_file)
    if certificate is not None:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def echo(port: int, context: ssl.SSLContext) -> float:
    """Associate, echo, and return how long it took; raises OSError where TLS fails."""
    begun = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(associate_request())
        if secure.recv(65_536)[:1] != b"\x02":
            raise ConnectionError
        secure.sendall(pdu(4, pdv(VERIFICATION_ID, 3, echo_command())))
        assert secure.recv(65_536)[:1] == b"\x04"
    return time.monotonic() - begun


def test_known_client_is_served(
    mutual: Receiving, authority: Authority, client: Certificate
) -> None:
    """A client of the authority is served over TLS, and the origin says so."""
    echo(mutual.port, client_context(authority, client))
    mutual.recorder.wait_for_ends()
    assert mutual.recorder.ends[0][0].tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_are_served(
    version: ssl.TLSVersion, mutual: Receiving, authority: Authority, client: Certificate
) -> None:
    """N-05: TLS 1.2 and TLS 1.3 are both taken (PS3.15 B.12)."""
    context = client_context(authority, client)
    context.minimum_version = context.maximum_version = version
    echo(mutual.port, context)


def test_clients_without_a_good_certificate_are_refused(
    mutual: Receiving, authority: Authority, tmp_path: Path
) -> None:
    """N-05: no certificate, one of another authority and an expired one get no association."""
    other = Authority(tmp_path / "other", "Other Authority")
    for certificate in (None, other.issue("stranger"), authority.issue("old", expired=True)):
        with pytest.raises(OSError):
            echo(mutual.port, client_context(authority, certificate))
    mutual.listener.stop(grace_seconds=0)
    assert mutual.recorder.ends == []


def test_suite_without_forward_secrecy_is_refused(
    mutual: Receiving, authority: Authority, client: Certificate
) -> None:
    """N-05: a client that offers only key transport or CBC suites is refused (RFC 9325)."""
    context = client_context(authority, client)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:AES128-GCM-SHA256")
    with pytest.raises(OSError):
        echo(mutual.port, context)


@pytest.mark.timed
def test_silent_clients_do_not_hold_the_listener(
    mutual: Receiving, authority: Authority, client: Certificate
) -> None:
    """N-05: clients that open a connection and say nothing cost others nothing, and are closed."""
    silent = [socket.create_connection(("127.0.0.1", mutual.port), timeout=5) for _ in range(10)]
    silent[0].sendall(bytes.fromhex("160301020001"))  # part of a ClientHello
    assert echo(mutual.port, client_context(authority, client)) < 1.0
    begun = time.monotonic()
    for connection in silent:
        with connection:
            while connection.recv(1_024):
                pass
    assert time.monotonic() - begun < 2.5


def test_plaintext_on_a_tls_port_is_refused(mutual: Receiving) -> None:
    """N-05: an A-ASSOCIATE-RQ in clear to a TLS port gets no association."""
    with socket.create_connection(("127.0.0.1", mutual.port), timeout=5) as plain:
        plain.sendall(associate_request())
        try:
            answer = plain.recv(1_024)
        except ConnectionError:
            answer = b""
    assert answer[:1] != b"\x02"
    mutual.listener.stop(grace_seconds=0)
    assert mutual.recorder.ends == []


def test_dcmtk_echoes_over_tls(
    mutual: Receiving, authority: Authority, client: Certificate
) -> None:
    """DCMTK's echoscu with a client certificate is served."""
    echoscu = require("echoscu")
    arguments = ["--enable-tls", str(client.key_file), str(client.cert_file)]
    arguments += ["--add-cert-file", str(authority.ca_file), "-aec", "INTU_SCP"]
    done = subprocess.run(
        [echoscu, *arguments, "127.0.0.1", str(mutual.port)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert mutual.recorder.wait_for_ends() == ["released"]


def test_wrong_certificate_file_is_a_configuration_error(
    authority: Authority, start_receiving: StartReceiving, tmp_path: Path
) -> None:
    """A missing or unreadable PEM file stops the start with its name and the remedy."""
    server = authority.issue("server")
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigurationError, match=r"missing\.pem.*give a PEM file"):
        start_receiving(tls=ServerTls(cert_file=missing, key_file=server.key_file))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ConfigurationError, match=r"empty\.pem"):
        start_receiving(
            tls=ServerTls(
                cert_file=server.cert_file,
                key_file=server.key_file,
                ca_file=tmp_path / "empty.pem",
            )
        )
