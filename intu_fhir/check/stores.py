"""Looks at what a site keeps on its own machine: configuration, database, file store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sized
from contextlib import closing
from functools import partial
from pathlib import Path

from intu_fhir.check.row import CheckRow
from intu_fhir.db import migrate
from intu_fhir.db.destinations import names_with_work
from intu_fhir.db.readonly import Reader, read_only_query
from intu_fhir.db.refused import refused_lately
from intu_fhir.db.retired import count_open
from intu_fhir.db.session import Database, sqlite_folder
from intu_fhir.errors import ConfigurationError, IntuError, NotDurable, StoreUnavailable
from intu_fhir.model.extra import install
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import (
    Configuration,
    FhirDestination,
    IdentifierSystem,
    ObjectStore,
    Site,
)
from intu_fhir.upkeep.this_store import require_this_store


def check_configuration(configuration: Configuration) -> CheckRow:
    """Say how much is configured, and whether any of it receives."""
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


def check_database(site: Site) -> CheckRow:
    """Say whether the staging database is there, fits this version, and has space to grow."""
    url, folder = site.database, sqlite_folder(site.database)
    kind = url.partition(":")[0].partition("+")[0]
    row = partial(CheckRow, "database", kind)
    try:
        current, head = migrate.current(url), migrate.head()
        if current is None:
            return _new_database(url, row)
        migrate.require_fit(url)
    except IntuError as error:
        if isinstance(error, StoreUnavailable) and not isinstance(error, NotDurable):
            # A check does not try again, so what to do is another thing here.
            remedy = "see that it runs; correct user, host and name at `database`"
            detail = str(error).partition("; ")[0]
            return row(False, ": ".join([detail, *error.notes]), remedy)
        reason = error.reason if isinstance(error, ConfigurationError) else str(error)
        detail, _, remedy = reason.partition("; ")
        return row(False, detail, remedy)
    least = site.receiver.min_free_bytes
    if folder is not None and (free := _free(folder)) < least:
        return _too_little(row, free, least)
    newer = "" if current == head else f", of a newer version; this one works on {head} and fits"
    return row(True, f"at revision {current}{newer}")


def check_reader(site: Site) -> Iterator[CheckRow]:
    """Say as whom SQL by the web is asked on PostgreSQL, and whether that role can only read."""
    if site.database.startswith("sqlite:") or not site.web.enabled:
        return
    row = partial(CheckRow, "web", "sql")
    reader = site.web.sql.database
    if reader is None:
        yield row(
            True,
            "no reader is named, so nobody asks SQL by the web page or the API",
            "make one with deploy/postgresql/reader-role.sql and name it at web.sql.database",
        )
        return
    try:
        with read_only_query(Reader(reader), "SELECT 1"):
            yield row(True, "asked as a role that can only read")
    except IntuError as error:
        detail, _, remedy = str(error).partition("; ")
        yield row(False, detail, remedy)


def _new_database(url: str, row: Callable[..., CheckRow]) -> CheckRow:
    """Judge a database without tables, which the first start makes."""
    if url.startswith("sqlite:///"):
        folder = _nearest(Path(url.removeprefix("sqlite:///")).parent)
        try:
            _try_to_write(folder)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            remedy = "give this user the permission, or name another place at `database`"
            return row(False, f"{folder} cannot be written to: {reason}", remedy)
    return row(True, "new; the first start makes its tables")


def _nearest(folder: Path) -> Path:
    """Return the folder, or what there is of the way to it."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _try_to_write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"intu-fhir check")
        file.flush()
        os.fsync(file.fileno())


def check_files(configuration: Configuration) -> CheckRow:
    """Write into the file store's folder, and look how much space it has."""
    folder = configuration.site.files_folder
    least = configuration.site.receiver.min_free_bytes
    row = partial(CheckRow, "files", str(folder))
    if wrong := _not_this_store(configuration.site):
        detail, _, remedy = wrong.partition("; ")
        return row(False, detail, remedy)
    place = _nearest(folder)
    try:
        _try_to_write(place)
        free = _free(place)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "give this user the permission, or name another place at `files`"
        return row(False, f"cannot be written to: {reason}", remedy)
    if free < least:
        return _too_little(row, free, least)
    if place != folder:
        disk = _mounted_at(place)
        return row(
            True,
            f"does not exist yet; serve makes it, on the disk mounted at {disk}, "
            f"{_size(free)} free",
            "" if folder.is_relative_to(configuration.folder) else _MOUNT_FIRST,
        )
    return row(True, f"writable, {_size(free)} free")


_MOUNT_FIRST = "mount its disk first, where it is to have one of its own"


def _not_this_store(site: Site) -> str:
    """Return why a start would refuse the folder of the files, or nothing."""
    if not isinstance(site.files, Path):
        return ""
    try:
        migrate.require_fit(site.database)
    except IntuError:
        return ""  # told of the database; nobody knows what it knows
    with closing(Database(site.database, pool_size=1)) as database:
        try:
            require_this_store(site.files, database)
        except StoreUnavailable as error:
            return str(error)
    return ""


def check_staged(site: Site, clock: Clock) -> Iterator[CheckRow]:
    """Yield whose objects were refused in the last day, and what waits for who is not there."""
    try:
        migrate.require_fit(site.database)
        with (
            closing(Database(site.database, pool_size=1)) as database,
            database.read() as connection,
        ):
            refused = refused_lately(connection, clock.now())
            gone = [name for name in names_with_work(connection) if name not in site.destinations]
            waiting = {name: count_open(connection, name) for name in gone}
    except IntuError:
        return  # told of the database
    for one in refused:
        objects, of = _number(range(one.count), "object"), one.calling_ae_title or "a sender"
        yield CheckRow(
            "received",
            one.channel,
            True,
            f"{objects} of {of} refused in the last day, the last at {one.last:%Y-%m-%d %H:%M} UTC",
            "read why by object_refused in the log; its sender has to send them again",
        )
    for name, count in waiting.items():
        if count:
            yield CheckRow(
                "destination",
                name,
                True,
                f"not configured, and lacks {count:,} {'study' if count == 1 else 'studies'}",
                f"`intu-fhir destinations retire {name}` if it is gone for good, or bring it back",
            )


def _mounted_at(folder: Path) -> Path:
    """Return where the disk of a folder is mounted."""
    return next(place for place in (folder, *folder.parents) if place.is_mount())


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _too_little(row: Callable[..., CheckRow], free: int, least: int) -> CheckRow:
    return row(
        False,
        f"{_size(free)} free, nothing is taken in below {_size(least)}",
        "free space, or lower receiver.min_free_bytes",
    )


def check_bucket(url: str, settings: ObjectStore) -> CheckRow:
    """Write to the bucket, read it back and remove it."""
    row = partial(CheckRow, "files", url)
    try:
        from intu_fhir.files.bucket import Bucket

        Bucket(url, settings).probe()
    except ModuleNotFoundError as error:
        return row(False, f"{error.name} is missing", install("s3"))
    except IntuError as error:
        detail, _, remedy = str(error).partition("; ")
        return row(False, detail, remedy)
    sealed = ", sealed" if settings.key_files else ""
    return row(True, f"can be written, read and removed{sealed}")


def _size(count: float) -> str:
    return f"{count / 1024**3:.1f} GiB"


def check_identifiers(site: Site) -> Iterator[CheckRow]:
    """Say so where nothing gives Patient IDs the system by which a server is searched."""
    if site.identifiers.patient != IdentifierSystem():
        return
    for name, destination in site.destinations.items():
        if isinstance(destination, FhirDestination) and destination.subject.strategy == "search":
            yield CheckRow(
                "identifiers",
                name,
                True,
                "no identifiers.patient: only Patient IDs whose issuer is a URI or OID have a "
                "system, and the studies of all others are held",
                "write identifiers: {patient: {default: the system of your Patient IDs}}",
            )
