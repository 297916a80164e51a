"""Stored files on their way out: compared with what was received before a byte of them is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

import structlog

from intu_fhir.db.file_checks import note_damage
from intu_fhir.db.image_files import Image
from intu_fhir.errors import DamagedFile, StoreUnavailable
from intu_fhir.files.digest import data_set_digest
from intu_fhir.web.compared import mark_of
from intu_fhir.web.context import Site

_log = structlog.get_logger("intu_fhir.web")


@contextlib.contextmanager
def opened(site: Site, image: Image) -> Iterator[BinaryIO]:
    """Give the file of an instance, surely what was received.

    Raises:
        DamagedFile: it is missing or something else; that is noted where `failures` shows it.
        StoreUnavailable: it cannot be read now.
    """
    try:
        with _sound(site, image) as file:
            yield file
    except OSError as error:
        raise StoreUnavailable(
            f"The stored file of {image.sop_instance_uid} cannot be read "
            f"({type(error).__name__}); see to the disk"
        ) from None


def _sound(site: Site, image: Image) -> BinaryIO:
    """Open a file and compare it, unless that was done a short while ago."""
    try:
        file = site.app.files.file(image.file).open("rb")
    except (FileNotFoundError, DamagedFile) as error:
        if isinstance(error, FileNotFoundError):
            site.app.files.ask()  # a store that is down says nothing of any file
        raise _damaged(site, image) from None
    now, mark = site.clock.now(), mark_of(image.sha256, file)
    try:
        if site.compared.is_known(mark, now):
            return file
        if data_set_digest(file, image.data_set_offset) != image.sha256:
            raise _damaged(site, image)
    except BaseException:
        file.close()
        raise
    site.compared.note(mark, now)
    return file


def _damaged(site: Site, image: Image) -> DamagedFile:
    _log.error("file_damaged", instance=image.sop_instance_uid, file=image.file)
    with site.database.write() as connection:
        note_damage(connection, {image.instance_key: image.file}, site.clock.now())
    return DamagedFile(
        f"The stored file of {image.sop_instance_uid} is missing or is not what was received; "
        "restore it from a backup, or have the image sent again"
    )
