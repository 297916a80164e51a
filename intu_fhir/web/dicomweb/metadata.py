"""Retrieve headers by WADO-RS: everything but bulk data, as DICOM JSON (PS3.18 10.4.1.1.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.image_files import Image, Place, headers_of
from intu_fhir.errors import DamagedFile
from intu_fhir.model.stored import Stored
from intu_fhir.web.context import Site
from intu_fhir.web.dicomweb import asked
from intu_fhir.web.dicomweb.answers import element
from intu_fhir.web.dicomweb.bulk_links import with_links
from intu_fhir.web.dicomweb.images import Images, images_in, is_gone, lost_headers
from intu_fhir.web.dicomweb.media import requires_json
from intu_fhir.web.dicomweb.streamed import Streamed
from intu_fhir.web.rendering import site_of

_AT_A_TIME = 20
"""Headers in memory at the same time; one has at most some megabytes."""

_LOST = "their complete headers were removed by retention, and their files are gone"
_SOON = {"retry-after": "2"}


def retrieve_metadata(request: Request) -> Response:
    """Give the complete headers of a study, series or instance, those of pruned files as well.

    One that retention has removed is read from the file; where that is gone it is left out. What
    goes only while the answer is sent cannot be told any more: the answer ends without its end.
    """
    requires_json(request)
    site, images, base = site_of(request), images_in(request), asked.base_of(request)
    lost = _lost(site, images)
    asked.note_parts(request, site, images.place.study)
    return Streamed(
        _array(site, images, base, lost),
        threads=site.readers,
        seconds=site.web.dicomweb.send_seconds,
        media_type=asked.JSON,
        status_code=206 if lost else 200,
        headers=_warning(base, len(lost)),
    )


def _warning(base: str, lost: int) -> dict[str, str]:
    return {"warning": f"299 {base}: {lost} instances are left out: {_LOST}"} if lost else {}


def _lost(site: Site, images: Images) -> Collection[int]:
    """Return the keys of instances that have to be left out.

    Raises:
        HTTPException: there is nothing to be given, or not yet, and why.
    """
    total = undescribed = 0
    lost: set[int] = set()
    for batch in images.batches():
        total += len(batch)
        undescribed += sum(not image.is_described for image in batch)
        lost |= lost_headers(site, batch)
    if not total:
        raise HTTPException(404, "nothing of this address is here, or it waits for a decision")
    if undescribed:
        raise HTTPException(503, "it has only just come; ask again in some seconds", _SOON)
    if len(lost) == total:
        raise HTTPException(410, _LOST)
    return lost


def _array(site: Site, images: Images, base: str, lost: Collection[int]) -> Iterator[bytes]:
    before = b"["
    for whole in images.batches():
        batch = [image for image in whole if image.instance_key not in lost]
        for begin in range(0, len(batch), _AT_A_TIME):
            for data_set in _headers(site, batch[begin : begin + _AT_A_TIME], base):
                yield before + orjson.dumps(data_set)
                before = b","
    yield b"]"


def _headers(site: Site, images: list[Image], base: str) -> Iterator[dict[str, Any]]:
    with site.database.read() as connection:
        found = headers_of(connection, [one.instance_key for one in images])
    for image in images:
        header = found.get(image.instance_key)
        yield _complete(image, _again(site, image) if header is None else header, base)


def _again(site: Site, image: Image) -> dict[str, Any]:
    """Read a header that retention has removed.

    Raises:
        DamagedFile: its file is gone as well; the answer ends without its end.
        StoreUnavailable: it cannot be read now.
    """
    header = site.app.headers_again(
        Stored(
            image.sop_instance_uid,
            image.transfer_syntax_uid,
            image.file,
            image.data_set_offset,
            image.calling_ae_title,
            not is_gone(image),
        )
    )
    if header is None:
        raise DamagedFile(
            f"The complete header of {image.sop_instance_uid} was removed by retention, and its "
            "file is missing or damaged; restore it from a backup, or have the image sent again"
        )
    return header


def _complete(image: Image, header: dict[str, Any], base: str) -> dict[str, Any]:
    """Return a header with links, and with what is known of it even where it was unreadable."""
    place = Place(image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
    data_set = {
        **dict(
            [
                element("SOPClassUID", image.sop_class_uid),
                element("SOPInstanceUID", image.sop_instance_uid),
                element("StudyInstanceUID", image.study_instance_uid),
                element("SeriesInstanceUID", image.series_instance_uid),
            ]
        ),
        **with_links(header, asked.address_of(base, place)),
        **dict([element("AvailableTransferSyntaxUID", image.transfer_syntax_uid)]),
    }
    return dict(sorted(data_set.items()))
