"""Looks at the ports of a site: free, or held by this very site."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from intu_fhir.check.row import CheckRow
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.files.part10 import IMPLEMENTATION_CLASS_UID
from intu_fhir.files.writers import somebody_writes
from intu_fhir.settings.base import address_from_here, host_from_here
from intu_fhir.settings.schema import DicomDestination, DicomSource, ServerTls
from intu_fhir.settings.web import Web

_AT_HOME_SECONDS = 2.0
"""How long a program on our own port may take to answer."""

_WHOSE_PAGE = "if that is the page of another site, change web.port of one of them"


def check_port(
    source: DicomSource, files: Path, row: Callable[..., CheckRow], *, knows_files: bool = True
) -> CheckRow:
    """Say whether a channel can listen, or does so already.

    Args:
        files: folder of the site's file store, into which its own receiver writes.
        knows_files: it is the one that this site has, and not the folder below its disk.
        row: makes the row of the channel.
    """
    where = f"{source.ae_title} on port {source.port}{', TLS' if source.tls else ''}"
    family = socket.AF_INET6 if ":" in source.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As a listener does it, so that a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((source.host, source.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _seems_ours(source, files):
                return _held_by_intu(where, files, row, knows_files=knows_files)
            return _port_refused(error, where, row)
    return row(True, f"{where} is free")


def _seems_ours(source: DicomSource, files: Path) -> bool:
    """Say whether an intu_fhir listens there; one that asks who comes would turn us away."""
    return somebody_writes(files / "writers") if source.users is not None else _is_ours(source)


def _held_by_intu(
    where: str, files: Path, row: Callable[..., CheckRow], *, knows_files: bool
) -> CheckRow:
    """Judge a port on which an intu_fhir answers: it may be another site's."""
    if somebody_writes(files / "writers"):
        return row(True, f"{where} is in use by a running intu-fhir")
    if not knows_files:
        found = f"{where} is in use by an intu-fhir; whose it is cannot be told without the files"
        return row(True, found, "mend the file store first")
    remedy = "change the port of one of them, or check the configuration of the one that runs"
    return row(False, f"{where} is in use by an intu-fhir with another file store", remedy)


def check_web(web: Web, files: Path) -> Iterator[CheckRow]:
    """Say whether the web page can listen, or does so already.

    Args:
        files: folder of the site's file store; where nobody writes into it, the page that listens
            may be another site's.
    """
    if not web.enabled:
        return
    row, where = partial(CheckRow, "web", f"port {web.port}"), f"{web.host}:{web.port}"
    try:
        family, *_, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and (said := _our_page(web)) is not None:
            found = f"{where} is in use by a running intu-fhir"
            remedy = "" if somebody_writes(files / "writers") else _WHOSE_PAGE
            if "configuration" in said:
                found += ", which started before the configuration was changed"
                remedy = "restart it, so that the change counts"
            yield row(True, found, remedy)
            yield from _rejected(web)
        else:
            yield _port_refused(error, where, row, "web.host")
        return
    yield row(True, f"{where} is free")


def _our_page(web: Web) -> Mapping[str, object] | None:
    """Return what our page says of itself, None where what listens there is none.

    By TLS its certificate alone is looked at.
    """
    if web.tls is not None:
        host = host_from_here(web.host)
        return {} if _shows_our_certificate((host, web.port), web.tls) else None
    try:
        said = _ask(web, "/readyz").json()
    except (httpx.HTTPError, ValueError):
        return None
    return said if isinstance(said, dict) and "ready" in said else None


def _ask(web: Web, path: str) -> httpx.Response:
    address = address_from_here("http", web.host, web.port)
    return httpx.get(f"{address}{path}", timeout=_AT_HOME_SECONDS)


def _rejected(web: Web) -> Iterator[CheckRow]:
    """Yield how many associations the running one has rejected, where it tells that to anybody."""
    if web.tls is not None:
        return
    try:
        answer = _ask(web, "/metrics")
    except httpx.HTTPError:
        return
    for labels, count in _connections(answer.text) if answer.is_success else ():
        if count and labels.get("outcome") == "rejected":
            found = f"the running intu-fhir has rejected {count:.0f} of its associations"
            remedy = "read why on the Overview, or by connection_without_association in the log"
            yield CheckRow("received", labels.get("channel", ""), True, found, remedy)


def _connections(metrics: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield labels and value of what is counted of connections; nothing of what cannot be read."""
    with suppress(ValueError):
        for metric in text_string_to_metric_families(metrics):
            for sample in metric.samples:
                if sample.name == "intu_receive_connections_total":
                    yield sample.labels, sample.value


def held_by_us(source: DicomSource) -> bool:
    """Say whether an intu_fhir of this configuration listens at the port of a channel."""
    return source.users is None and _is_ours(source)


def is_our_page(web: Web) -> bool:
    """Say whether what listens at the port of the page answers as ours does."""
    return _our_page(web) is not None


def _port_refused(
    error: OSError, where: str, row: Callable[..., CheckRow], key: str = "source.host"
) -> CheckRow:
    if error.errno == errno.EADDRINUSE:
        remedy = "stop the program that listens there (`ss -ltnp`), or change the port"
        return row(False, f"{where} is in use, and no intu-fhir answers there", remedy)
    if error.errno == errno.EACCES:
        remedy = "use a port above 1023, or give the program CAP_NET_BIND_SERVICE"
        return row(False, f"{where} is not allowed for this user", remedy)
    reason = error.strerror or type(error).__name__
    return row(False, f"{where}: {reason}", f"correct {key}")


def _is_ours(source: DicomSource) -> bool:
    """Say whether what listens at a port of this site is an intu_fhir with its configuration.

    With TLS the certificate tells, since only who has its key can show it: a C-ECHO may need a
    client certificate that we have not got.
    """
    host = host_from_here(source.host)
    if source.tls is not None:
        return _shows_our_certificate((host, source.port), source.tls)
    sender = DicomDestination(
        type="dicom",
        host=host,
        port=source.port,
        ae_title=(source.calling_ae_titles or ("INTU_CHECK",))[0],
        called_ae_title=source.ae_title,
        timeout_seconds=_AT_HOME_SECONDS,
    )
    return StorageScu(sender).implementation() == IMPLEMENTATION_CLASS_UID


def _shows_our_certificate(address: tuple[str, int], tls: ServerTls) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent, and the certificate has to be the very one.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, timeout=_AT_HOME_SECONDS) as plain,
            context.wrap_socket(plain) as secured,
        ):
            return secured.getpeercert(binary_form=True) == _certificate(tls.cert_file)
    except OSError:
        return False


def _certificate(file: Path) -> bytes:
    """Return the first certificate of a PEM file, which is the server's own."""
    text, end = file.read_text(encoding="ascii"), "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end) + len(end)])
