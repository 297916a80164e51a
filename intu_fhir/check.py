"""Judges whether a site can run: everything that a start would need, asked without changing it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from intu_fhir.build.examples import run_examples
from intu_fhir.build.routes import require_staged
from intu_fhir.build.transform import load_transformer
from intu_fhir.db import migrate
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.errors import ConfigurationError, IntuError, StoreUnavailable
from intu_fhir.files.part10 import IMPLEMENTATION_CLASS_UID
from intu_fhir.mappings import attributes_of, load_mapping
from intu_fhir.model.outcome import Dead, Retry
from intu_fhir.observe.clock import Clock
from intu_fhir.receive.tls import server_context
from intu_fhir.settings.schema import (
    AnyDestination,
    Channel,
    Configuration,
    DicomDestination,
    DicomSource,
    FhirDestination,
    ObjectStore,
    ServerTls,
)

PATIENCE_SECONDS = 10.0
"""How long a destination may take to answer."""

_AT_HOME_SECONDS = 2.0
"""How long a program on our own port may take to answer."""

_AT_ONCE = 8
_SAY_NO = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One thing that was looked at.

    Args:
        what: ``configuration``, ``database``, ``files``, ``channel`` or ``destination``.
        subject: which one.
        detail: what was found.
        remedy: what to do, where it is not ok.
    """

    what: str
    subject: str
    ok: bool
    detail: str
    remedy: str = ""


def check(
    configuration: Configuration, clock: Clock, *, offline: bool = False
) -> Iterator[CheckRow]:
    """Yield what was looked at, one by one; destinations are asked side by side.

    Args:
        offline: leave the destinations alone.
    """
    yield _configuration(configuration)
    yield _database(configuration.site.database)
    yield _files(configuration)
    if not isinstance(configuration.site.files, Path) and not offline:
        yield _bucket(configuration.site.files, configuration.site.object_store)
    for channel in configuration.channels:
        wanted = {name: configuration.site.destinations[name] for name in channel.destinations}
        yield _channel(channel, wanted)
    if not offline:
        yield from _destinations(configuration, clock)


def _configuration(configuration: Configuration) -> CheckRow:
    channels, destinations = configuration.channels, configuration.site.destinations
    counted = f"{_number(channels, 'channel')}, {_number(destinations, 'destination')}"
    if configuration.enabled_channels():
        return CheckRow("configuration", str(configuration.folder), True, counted)
    return CheckRow(
        "configuration",
        str(configuration.folder),
        False,
        f"{counted}, none of them enabled",
        "add channels/NAME/channel.yaml, or set enabled: true",
    )


def _number(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _database(url: str) -> CheckRow:
    kind = url.partition(":")[0].partition("+")[0]
    row = partial(CheckRow, "database", kind)
    try:
        current, head = migrate.current(url), migrate.head()
        if current is None:
            return _new_database(url, row)
        migrate.require_head(url)
    except IntuError as error:
        if isinstance(error, StoreUnavailable):
            # A check does not try again, so what to do is another thing here.
            remedy = "see that it runs; correct user, host and name at `database`"
            return row(False, str(error).partition("; ")[0], remedy)
        reason = error.reason if isinstance(error, ConfigurationError) else str(error)
        detail, _, remedy = reason.partition("; ")
        return row(False, detail, remedy)
    return row(True, f"at revision {head}")


def _new_database(url: str, row: Callable[..., CheckRow]) -> CheckRow:
    """Judge a database without tables, which the first start makes."""
    if url.startswith("sqlite:///"):
        folder = _nearest(Path(url.removeprefix("sqlite:///")).parent)
        if not os.access(folder, os.W_OK | os.X_OK):
            remedy = "give this user the permission, or name another place at `database`"
            return row(False, f"{folder} cannot be written to", remedy)
    return row(True, "new; the first start makes its tables")


def _nearest(folder: Path) -> Path:
    """Return the folder, or what there is of the way to it."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _files(configuration: Configuration) -> CheckRow:
    folder = configuration.site.files_folder
    least = configuration.site.receiver.min_free_bytes
    row = partial(CheckRow, "files", str(folder))
    place = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"intu-fhir check")
            file.flush()
            os.fsync(file.fileno())
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "give this user the permission, or name another place at `files`"
        return row(False, f"cannot be written to: {reason}", remedy)
    if free < least:
        return row(
            False,
            f"{_size(free)} free, nothing is taken in below {_size(least)}",
            "free space, or lower receiver.min_free_bytes",
        )
    return row(True, f"writable, {_size(free)} free")


def _bucket(url: str, settings: ObjectStore) -> CheckRow:
    """Write to the bucket, read it back and remove it."""
    row = partial(CheckRow, "files", url)
    try:
        from intu_fhir.files.bucket import Bucket

        Bucket(url, settings).probe()
    except ModuleNotFoundError as error:
        return row(False, f"{error.name} is missing", "pip install 'intu-fhir[s3]'")
    except IntuError as error:
        detail, _, remedy = str(error).partition("; ")
        return row(False, detail, remedy)
    sealed = ", sealed" if settings.key_files else ""
    return row(True, f"can be written, read and removed{sealed}")


def _size(count: float) -> str:
    return f"{count / 1024**3:.1f} GiB"


def _channel(channel: Channel, destinations: Mapping[str, AnyDestination]) -> CheckRow:
    row = partial(CheckRow, "channel", channel.id)
    if not channel.enabled:
        return row(True, "disabled")
    try:
        mapping = load_mapping(channel.mapping)
        run_examples(mapping)
        require_staged(destinations, attributes_of([mapping]).levels)
        if channel.transformer is not None:
            load_transformer(channel.transformer)
        if channel.source.tls is not None:
            server_context(channel.source.tls)
    except ConfigurationError as error:
        detail, _, remedy = str(error).partition("; ")
        return row(False, detail, remedy)
    return _port(channel, row)


def _port(channel: Channel, row: Callable[..., CheckRow]) -> CheckRow:
    source = channel.source
    where = f"{source.ae_title} on port {source.port}{', TLS' if source.tls else ''}"
    family = socket.AF_INET6 if ":" in source.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As a listener does it, so that a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((source.host, source.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and _is_ours(source):
                return row(True, f"{where} is in use by a running intu-fhir")
            return _port_refused(error, where, row)
    return row(True, f"{where} is free")


def _port_refused(error: OSError, where: str, row: Callable[..., CheckRow]) -> CheckRow:
    if error.errno == errno.EADDRINUSE:
        remedy = "stop the program that listens there (`ss -ltnp`), or change the port"
        return row(False, f"{where} is in use, and no intu-fhir answers there", remedy)
    if error.errno == errno.EACCES:
        remedy = "use a port above 1023, or give the program CAP_NET_BIND_SERVICE"
        return row(False, f"{where} is not allowed for this user", remedy)
    reason = error.strerror or type(error).__name__
    return row(False, f"{where}: {reason}", "correct source.host")


def _is_ours(source: DicomSource) -> bool:
    """Say whether what listens at a port of this site is an intu_fhir with its configuration.

    With TLS the certificate tells, since only who has its key can show it: a C-ECHO may need a
    client certificate that we have not got.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(source.host, source.host)  # noqa: S104
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


def _destinations(configuration: Configuration, clock: Clock) -> Iterator[CheckRow]:
    destinations = configuration.site.destinations
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        asked = [
            pool.submit(check_destination, name, destination, clock)
            for name, destination in destinations.items()
        ]
        for answer in asked:
            yield answer.result()


def check_destination(
    name: str, destination: FhirDestination | DicomDestination, clock: Clock
) -> CheckRow:
    """Ask one destination whether it is there and takes what we have."""
    patience = min(destination.timeout_seconds, PATIENCE_SECONDS)
    hurried = destination.model_copy(update={"timeout_seconds": patience})
    try:
        if isinstance(hurried, FhirDestination):
            return _fhir(name, hurried, clock)
        return _dicom(name, hurried)
    except IntuError as error:
        detail, _, remedy = str(error).partition("; ")
        return CheckRow("destination", name, False, detail, remedy)


def _fhir(name: str, destination: FhirDestination, clock: Clock) -> CheckRow:
    with closing(FhirClient(destination, clock=clock)) as client:
        return _fhir_server(partial(CheckRow, "destination", name), destination, client)


def _fhir_server(
    row: partial[CheckRow], destination: FhirDestination, client: FhirClient
) -> CheckRow:
    said = client.metadata()
    if isinstance(said, (Retry, Dead)):
        return row(False, said.detail, "correct base_url, tls or auth, or start the server")
    if not said.speaks(destination.release):
        return row(False, f"speaks FHIR {said.fhir_version}", "set release to what it speaks")
    if not said.takes_imaging_study:
        return row(False, said.quote(), "ask its administrator to offer ImagingStudy")
    # What it can do is often told to everyone, so we ask as what we are.
    status = client.call("GET", "ImagingStudy?_count=0").status
    if status in _SAY_NO:
        return row(False, f"answers {status} to a search", "correct auth, or its permissions")
    return row(True, " ".join(part for part in (said.software, said.fhir_version) if part))


def _dicom(name: str, destination: DicomDestination) -> CheckRow:
    row = partial(CheckRow, "destination", name)
    outcome = StorageScu(destination).echo()
    if isinstance(outcome, (Retry, Dead)):
        remedy = "correct host, port or AE titles, or ask its administrator"
        return row(False, outcome.detail, remedy)
    return row(True, f"{destination.called_ae_title} answers C-ECHO")
