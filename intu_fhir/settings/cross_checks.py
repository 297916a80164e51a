"""What no single value shows: a port used twice, a name that leads nowhere, a missing file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.paths import files_in
from intu_fhir.settings.route_checks import route_mistakes
from intu_fhir.settings.schema import Channel, FhirDestination, Settings, Site
from intu_fhir.settings.web_checks import web_mistakes
from intu_fhir.settings.yaml_lines import Document

ChannelFile: TypeAlias = tuple[Channel, Document]
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104
_MADE_LATER = frozenset({("files",), ("object_store", "spool"), ("web", "users_file")})
"""Paths that a start or a command makes."""
_DATABASES = ("sqlite:///", "postgresql://", "postgresql+psycopg://")
_POSTGRESQL = re.compile(
    r"postgresql(?:\+psycopg)?://"
    r"(?:[^:/]*(?::[^@]*)?@)?"  # user, password
    r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]/:@?]*)(?::\d{1,5})?"  # host, port
    r"(?:/[^?]*)?(?:\?.*)?"
)


def cross_mistakes(
    site: tuple[Site, Document] | None, channels: Sequence[ChannelFile]
) -> list[ConfigurationError]:
    """Return what is wrong between the sections and towards the disk.

    A disabled channel listens nowhere, so its port and its files are not looked at.
    """
    enabled = [pair for pair in channels if pair[0].enabled]
    mistakes = [*_same_ids(channels), *_same_ports(enabled)]
    for channel, document in channels:
        mistakes += _callers(channel, document)
        if site is not None:
            mistakes += _destinations(channel, document, site[0])
    for channel, document in enabled:
        mistakes += _transformer(channel, document)
        mistakes += _missing_files(channel, document)
    if site is not None:
        mistakes += [*_stores(*site), *_missing_files(*site), *_image_services(*site)]
        mistakes += [*web_mistakes(*site), *_web_port(*site, enabled)]
        mistakes += route_mistakes(*site, channels)
    return mistakes


def _same_ids(channels: Sequence[ChannelFile]) -> Iterator[ConfigurationError]:
    seen: dict[str, Document] = {}
    for channel, document in channels:
        if first := seen.get(channel.id):
            yield document.mistake(
                f"{channel.id} is also the id of {first.file}:{first.line(('id',))}; "
                "give one of them another id",
                "id",
            )
        seen.setdefault(channel.id, document)


def _same_ports(channels: Sequence[ChannelFile]) -> Iterator[ConfigurationError]:
    for index, (channel, document) in enumerate(channels):
        for other, first in channels[:index]:
            if _collide(channel, other):
                yield document.mistake(
                    f"port {channel.source.port} is also used by channel {other.id} "
                    f"({first.file}:{first.line(('source', 'port'))}); choose another port",
                    "source",
                    "port",
                )
                break


def _collide(one: Channel, other: Channel) -> bool:
    hosts = {one.source.host, other.source.host}
    return one.source.port == other.source.port and (len(hosts) == 1 or bool(hosts & _ANY_ADDRESS))


def _web_port(
    site: Site, document: Document, channels: Sequence[ChannelFile]
) -> Iterator[ConfigurationError]:
    web = site.web
    for channel, _ in channels:
        hosts = {web.host, channel.source.host}
        same_port = web.enabled and web.port == channel.source.port
        if same_port and (len(hosts) == 1 or bool(hosts & _ANY_ADDRESS)):
            yield document.mistake(
                f"port {web.port} is also used by channel {channel.id}; choose another port",
                "web",
                "port",
            )


_CALLERS = {
    "calling_ae_titles": "AE titles",
    "allowed_addresses": "addresses or networks",
    "users": "users",
}


def _callers(channel: Channel, document: Document) -> Iterator[ConfigurationError]:
    for key, what in _CALLERS.items():
        if getattr(channel.source, key) == ():
            yield document.mistake(
                f"an empty list would refuse every caller; name the {what}, or remove the key to "
                "let all of them in",
                "source",
                key,
            )
    names = [user.name for user in channel.source.users or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            place = ("source", "users", index, "name")
            yield document.mistake(f"{name} stands here twice; keep one", *place)


def _destinations(channel: Channel, document: Document, site: Site) -> Iterator[ConfigurationError]:
    known = ", ".join(site.destinations) or "none yet"
    for index, name in enumerate(channel.destinations):
        if name not in site.destinations:
            yield document.mistake(
                f"{name} is not a destination of intu.yaml; add it there or use one of: {known}",
                "destinations",
                index,
            )
        elif name in channel.destinations[:index]:
            yield document.mistake(f"{name} stands here twice; keep one", "destinations", index)


def _transformer(channel: Channel, document: Document) -> Iterator[ConfigurationError]:
    path = channel.transformer
    if path is None or path.suffix == ".py":
        return
    language = "TypeScript" if path.suffix == ".ts" else "another language"
    yield document.mistake(
        f"{path.name} is written in {language}, a transformer is a Python hook; port it to a "
        f"file {path.stem}.py with `def transform(message)` and name that",
        "transformer",
    )


def _missing_files(section: Settings, document: Document) -> Iterator[ConfigurationError]:
    for location, path in files_in(section):
        if location in _MADE_LATER or path.suffix == ".ts":
            continue
        if reason := _unreadable(path):
            yield document.mistake(f"the file {path} {reason}", *location)


def _unreadable(path: Path) -> str:
    if not path.exists():
        return "is not there; put it there or correct the path"
    if not path.is_file():
        return "is not a file; name the file itself"
    return "" if os.access(path, os.R_OK) else "may not be read; give this user the permission"


def _image_services(site: Site, document: Document) -> Iterator[ConfigurationError]:
    for name, destination in site.destinations.items():
        if isinstance(destination, FhirDestination):
            wanted = destination.publish
            if wanted.endpoint and (wanted.wado_rs or site.web.images_url) is None:
                yield document.mistake(
                    "an Endpoint needs the address of the image service; write wado_rs: "
                    "https://pacs.example.org/dicom-web beside it, or web.dicomweb.url where it "
                    "is ours, or endpoint: false",
                    "destinations",
                    name,
                    "publish",
                    "endpoint",
                )
            elif wanted.wado_rs and not wanted.endpoint and wanted.document_reference == "never":
                yield document.mistake(
                    "nothing that is published names this address; write endpoint: true beside "
                    "it, or remove it",
                    "destinations",
                    name,
                    "publish",
                    "wado_rs",
                )


def _stores(site: Site, document: Document) -> Iterator[ConfigurationError]:
    if not site.database.startswith(_DATABASES):
        yield document.mistake(
            "not a database we know; write sqlite:///data/staging.db or "
            "postgresql+psycopg://user@host/name",
            "database",
        )
    elif site.database.startswith("postgresql") and not _POSTGRESQL.fullmatch(site.database):
        yield document.mistake(
            "not an address of a database; write postgresql+psycopg://user:password@host:5432/x, "
            "and in the password @ as %40 and % as %25",
            "database",
        )
    elif ":memory:" in site.database:
        yield document.mistake("must outlive the process; name a file", "database")
    if isinstance(site.files, Path) and "object_store" in document.value:
        yield document.mistake(
            "files is a folder, so nothing of this is used; write files: s3://bucket/prefix, or "
            "remove this section",
            "object_store",
        )
    elif site.files_folder.exists() and not site.files_folder.is_dir():
        where = ("files",) if isinstance(site.files, Path) else ("object_store", "spool")
        yield document.mistake(f"{site.files_folder} is not a folder; name a folder", *where)
    if site.object_store.kms_key_id and site.object_store.server_side_encryption != "aws:kms":
        yield document.mistake(
            "a KMS key is used with server_side_encryption: aws:kms only; write that beside it",
            "object_store",
            "kms_key_id",
        )
