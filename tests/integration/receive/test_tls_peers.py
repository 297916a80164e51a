"""TLS listeners: who gets in, who does not, and that silence costs others nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
import warnings
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from intu_fhir.errors import ConfigurationError
from intu_fhir.receive.tls import server_context
from intu_fhir.settings.schema import ServerTls
from tests.integration.receive.conftest import StartReceiving
from tests.support.certificates import Authority, Certificate
from tests.support.programs import require
from tests.support.raw_peer import VERIFICATION_ID, associate_request, echo_command, pdu, pdv
from tests.support.receiving import QUICK, Receiving


@pytest.fixture
def client(authority: Authority) -> Certificate:
    """A certificate that the listener takes."""
    return authority.issue("modality")


@pytest.fixture
def asking(authority: Authority) -> ServerTls:
    """TLS that asks for client certificates."""
    server = authority.issue("server")
    return ServerTls(
        cert_file=server.cert_file, key_file=server.key_file, ca_file=authority.ca_file
    )


@pytest.fixture
def mutual(asking: ServerTls, start_receiving: StartReceiving) -> Receiving:
    """A listener that asks for client certificates."""
    return start_receiving(tls=asking)


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
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
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


def test_client_without_a_certificate_hears_why(mutual: Receiving, authority: Authority) -> None:
    """The alert arrives though a client of TLS 1.3 has sent its request before (RFC 8446 6.2)."""
    context, heard = client_context(authority, None), []
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for _ in range(8):
        with (
            socket.create_connection(("127.0.0.1", mutual.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            try:
                secure.sendall(associate_request())
                threading.Event().wait(0.1)  # until the server has judged, and closed if it does
                heard.append(str(secure.recv(100)))
            except ssl.SSLError as error:
                heard.append(error.reason)
            except OSError as error:
                heard.append(type(error).__name__)
    assert heard == ["TLSV13_ALERT_CERTIFICATE_REQUIRED"] * 8


ENDS = {
    "rejection": (associate_request(called="OTHER"), b""),
    "release": (associate_request(), pdu(5, bytes(4))),
    "abort": (associate_request(), pdu(9, bytes(4))),
    "abort by the peer": (associate_request(), pdu(7, bytes(4))),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_connection_ends_with_close_notify(
    version: ssl.TLSVersion,
    end: str,
    mutual: Receiving,
    authority: Authority,
    client: Certificate,
) -> None:
    """However an association ends, TLS ends as it has to, and not like a cut (RFC 8446 6.1)."""
    context = client_context(authority, client)
    context.minimum_version = context.maximum_version = version
    request, last = ENDS[end]
    with (
        socket.create_connection(("127.0.0.1", mutual.port), timeout=60) as plain,
        context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as secure,
    ):
        secure.sendall(request)
        assert secure.recv(65_536)
        secure.sendall(last)
        while secure.recv(65_536):
            pass


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Shake hands in memory and return the version of TLS; raises SSLError where it fails."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return sides[1].version() or ""


def test_old_versions_of_tls_are_refused(authority: Authority) -> None:
    """N-05: TLS 1.1 gets no connection, even where the ciphers would allow for it (RFC 8996)."""
    issued = authority.issue("server")
    server = server_context(ServerTls(cert_file=issued.cert_file, key_file=issued.key_file))
    client = client_context(authority, None)
    for context in (server, client):
        context.set_ciphers("ALL:@SECLEVEL=0")
    assert shake_hands(server, client) == "TLSv1.3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake_hands(server, client)


def test_renegotiation_is_refused(
    mutual: Receiving, authority: Authority, client: Certificate
) -> None:
    """N-05: a client of TLS 1.2 cannot begin the handshake anew (RFC 9325 3.5)."""
    command = [require("openssl"), "s_client", "-connect", f"127.0.0.1:{mutual.port}", "-tls1_2"]
    command += ["-cert", str(client.cert_file), "-key", str(client.key_file)]
    command += ["-CAfile", str(authority.ca_file)]
    done = subprocess.run(
        command, input="R\n", capture_output=True, text=True, timeout=30, check=False
    )
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stderr
    # OpenSSL 3 refuses by itself; older ones have to be told.
    tls = ServerTls(cert_file=client.cert_file, key_file=client.key_file)
    assert server_context(tls).options & ssl.OP_NO_RENEGOTIATION


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
    asking: ServerTls,
    start_receiving: StartReceiving,
    authority: Authority,
    client: Certificate,
) -> None:
    """N-05: clients that open a connection and say nothing cost others nothing, and are closed."""
    mutual = start_receiving(tls=asking, receiver=QUICK)
    silent = [socket.create_connection(("127.0.0.1", mutual.port), timeout=60) for _ in range(10)]
    silent[0].sendall(bytes.fromhex("160301020001"))  # part of a ClientHello
    assert echo(mutual.port, client_context(authority, client)) < 1.0
    begun = time.monotonic()
    for connection in silent:
        with connection:
            while connection.recv(1_024):
                pass
    assert time.monotonic() - begun < 2.5


def test_plaintext_on_a_tls_port_is_refused(mutual: Receiving) -> None:
    """N-05: an A-ASSOCIATE-RQ in clear to a TLS port gets no association; the log knows why."""
    with capture_logs() as logs:
        with socket.create_connection(("127.0.0.1", mutual.port), timeout=60) as plain:
            plain.sendall(associate_request())
            try:
                answer = plain.recv(1_024)
            except ConnectionError:
                answer = b""
        assert answer[:1] != b"\x02"
        mutual.listener.stop(grace_seconds=0)
    assert mutual.recorder.ends == []
    assert any("speaks no TLS, perhaps plain DICOM" in str(one.get("detail")) for one in logs)


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
