"""Retrieve studies, series and instances by WADO-RS as DICOM files (PS3.18 10.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.image_files import Image, Place
from intu_fhir.errors import DamagedFile
from intu_fhir.web.context import Site
from intu_fhir.web.dicomweb import asked
from intu_fhir.web.dicomweb.images import images_in, is_gone, tally, the_image
from intu_fhir.web.dicomweb.media import (
    DICOM,
    accepted,
    takes_instances,
    wants_single,
    with_syntax,
)
from intu_fhir.web.dicomweb.stored import opened
from intu_fhir.web.dicomweb.streamed import BLOCK, Part, Streamed, multipart
from intu_fhir.web.rendering import site_of


def retrieve(request: Request) -> Response:
    """Give the instances of a study or series, each as a part."""
    site, wanted = site_of(request), accepted(request)
    images, base = images_in(request), asked.base_of(request)
    counted = tally(images, lambda one: takes_instances(wanted, one.transfer_syntax_uid))
    status = counted.status()
    asked.note_view(request, site, images.place.study, counted.given)
    parts = (
        _part(site, one, base)
        for one in images
        if not is_gone(one) and takes_instances(wanted, one.transfer_syntax_uid)
    )
    return multipart(
        parts,
        DICOM,
        threads=site.readers,
        seconds=site.web.dicomweb.send_seconds,
        status_code=status,
        headers=counted.warning(base),
    )


def retrieve_instance(request: Request) -> Response:
    """Give one instance; a file that is not what was received is told before anything is sent."""
    site, wanted, image = site_of(request), accepted(request), the_image(request)
    if not takes_instances(wanted, image.transfer_syntax_uid):
        raise HTTPException(406, f"it is stored in the transfer syntax {image.transfer_syntax_uid}")
    compare(site, image)
    asked.note_view(request, site, image.study_instance_uid, 1)
    part = _part(site, image, asked.base_of(request))
    seconds = site.web.dicomweb.send_seconds
    if not wants_single(wanted):
        return multipart([part], DICOM, threads=site.readers, seconds=seconds)
    return Streamed(
        iter(part.blocks),
        threads=site.readers,
        seconds=seconds,
        media_type=part.content_type,
        headers={"content-length": str(part.size)},
    )


def compare(site: Site, image: Image) -> None:
    """See that a file is what was received.

    Raises:
        HTTPException: it is not; nothing of it is given.
    """
    try:
        with opened(site, image):
            pass
    except DamagedFile as error:
        raise HTTPException(410, str(error)) from None


def _part(site: Site, image: Image, base: str) -> Part:
    place = Place(image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
    return Part(
        with_syntax(DICOM, image.transfer_syntax_uid),
        _blocks(site, image),
        size=image.data_set_offset + image.data_set_bytes,
        location=asked.address_of(base, place),
    )


def _blocks(site: Site, image: Image) -> Iterator[bytes]:
    """Give a whole file.

    Raises:
        DamagedFile: it is not what was received. What was sent before it cannot be taken back,
            so the answer ends without its end, and the other side sees that it is not complete.
    """
    with opened(site, image) as file:
        file.seek(0)
        yield from blocks_of(file)


def blocks_of(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """Give what follows in a file."""
    left = size
    while block := file.read(BLOCK if left is None else min(BLOCK, left)):
        yield block
        left = None if left is None else left - len(block)
