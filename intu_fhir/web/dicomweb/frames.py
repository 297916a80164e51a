"""Retrieve frames and other bulk data by WADO-RS (PS3.18 10.4.1.1.5 and 10.4.1.1.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.image_files import Image, Place
from intu_fhir.errors import DamagedFile, InvalidDataSet
from intu_fhir.stage.encodings import Limits
from intu_fhir.web.context import Site
from intu_fhir.web.dicomweb import asked
from intu_fhir.web.dicomweb.bulk import BulkValue, find_bulk
from intu_fhir.web.dicomweb.images import the_image
from intu_fhir.web.dicomweb.media import OCTETS, Form, accepted, form_of_frames
from intu_fhir.web.dicomweb.pixels import (
    MAX_FRAME_BYTES,
    NoFrames,
    Opened,
    Pixels,
    data_set_of,
    pixels_of,
    swapped,
)
from intu_fhir.web.dicomweb.rendering import decoded_frame
from intu_fhir.web.dicomweb.stored import opened
from intu_fhir.web.dicomweb.streamed import BLOCK, Part, Streamed, multipart
from intu_fhir.web.rendering import site_of

MAX_FRAMES = 1_000
PIXELS = "7FE00010"
_LIST = re.compile(r"\d{1,6}(?:,\d{1,6})*", re.ASCII)


def retrieve_frames(request: Request) -> Response:
    """Give frames by their numbers, each as a part."""
    site, numbers, image = site_of(request), _numbers(request), the_image(request)
    form, count = _form(request, site, image)
    if max(numbers) > count or min(numbers) < 1:
        raise HTTPException(404, f"there are {count} frames")
    return _send(request, site, image, numbers, form)


def _numbers(request: Request) -> list[int]:
    text = request.path_params["frames"].replace("%2C", ",").replace("%2c", ",")
    numbers = [int(one) for one in text.split(",")] if _LIST.fullmatch(text) else []
    if not numbers or len(numbers) > MAX_FRAMES:
        raise HTTPException(400, f"the address has no list of up to {MAX_FRAMES} frames")
    return numbers


def _form(request: Request, site: Site, image: Image) -> tuple[Form, int]:
    """Return how the frames are given, and how many there are.

    Raises:
        HTTPException: there are none, or none that is accepted.
    """
    limits = _limits(site)
    try:
        with opened(site, image) as file, data_set_of(file, image, limits) as data_set:
            pixels = pixels_of(data_set, image, limits)
    except DamagedFile as error:
        raise HTTPException(410, str(error)) from None
    except (NoFrames, InvalidDataSet) as error:
        raise HTTPException(404, str(error)) from None
    syntax = image.transfer_syntax_uid
    form = form_of_frames(accepted(request), syntax, is_encapsulated=pixels.is_encapsulated)
    if form is None:
        raise HTTPException(406, f"the frames are stored in the transfer syntax {syntax}")
    return form, pixels.frames


def _send(
    request: Request, site: Site, image: Image, numbers: Sequence[int], form: Form
) -> Response:
    asked.note_parts(request, site, image.study_instance_uid)
    if form.how == "decoded":
        # Before anything is sent, since it may not be possible.
        decoded_frame(site, image, numbers[0])
    frames = _frames(site, image, numbers, form)
    seconds = site.web.dicomweb.send_seconds
    if not form.is_multipart and len(numbers) == 1:
        return Streamed(frames, threads=site.readers, seconds=seconds, media_type=form.content_type)
    place = Place(image.study_instance_uid, image.series_instance_uid, image.sop_instance_uid)
    address = asked.address_of(asked.base_of(request), place)
    parts = (
        Part(form.content_type, [frame], size=len(frame), location=f"{address}/frames/{number}")
        for number, frame in zip(numbers, frames, strict=True)
    )
    kind = form.content_type.partition(";")[0]
    return multipart(parts, kind, threads=site.readers, seconds=seconds)


def _frames(site: Site, image: Image, numbers: Sequence[int], form: Form) -> Iterator[bytes]:
    if form.how == "decoded":
        for number in numbers:
            yield decoded_frame(site, image, number)
        return
    limits = _limits(site)
    with opened(site, image) as file, data_set_of(file, image, limits) as data_set:
        pixels = pixels_of(data_set, image, limits)
        for number in numbers:
            get = pixels.stored if form.how == "stored" else pixels.native
            yield get(data_set.source, number)


def _limits(site: Site) -> Limits:
    return Limits.of(site.configuration.site.receiver)


def retrieve_bulk(request: Request) -> Response:
    """Give one value that a header only links to; pixel data in fragments frame by frame."""
    site, image = site_of(request), the_image(request)
    limits, path, inner = _limits(site), request.path_params["path"], b""
    try:
        with opened(site, image) as file, data_set_of(file, image, limits) as data_set:
            value = find_bulk(data_set, path, limits)
            if value is not None and path == PIXELS and not value.is_encapsulated:
                value = replace(value, word=pixels_of(data_set, image, limits).swap)
            elif value is not None and value.is_encapsulated and path != PIXELS:
                inner = _inner_frame(data_set, image, value)
    except DamagedFile as error:
        raise HTTPException(410, str(error)) from None
    except (NoFrames, InvalidDataSet) as error:
        raise HTTPException(404, str(error)) from None
    if value is None:
        raise HTTPException(404, "it has no such value")
    if inner:
        return _send_inner(request, site, image, inner)
    if value.is_encapsulated:
        form, count = _form(request, site, image)
        return _send(request, site, image, range(1, count + 1), form)
    return _send_value(request, site, image, value)


def _inner_frame(opened_set: Opened, image: Image, value: BulkValue) -> bytes:
    """Return the frame of an icon or the like, which stands in a sequence, compressed as it is.

    Raises:
        NoFrames: it cannot be read, or may be too large for memory.
    """
    if image.data_set_bytes > MAX_FRAME_BYTES:
        raise NoFrames("It may be too large to be given alone; retrieve the instance")
    pixels = Pixels(opened_set.base + value.offset, None, bits=0, frames=1)
    return pixels.stored(opened_set.source, 1)


def _send_inner(request: Request, site: Site, image: Image, frame: bytes) -> Response:
    syntax = image.transfer_syntax_uid
    form = form_of_frames(accepted(request), syntax, is_encapsulated=True)
    if form is None or form.how == "decoded":
        raise HTTPException(406, f"it is stored in the transfer syntax {syntax}")
    asked.note_parts(request, site, image.study_instance_uid)
    if not form.is_multipart:
        return Response(frame, media_type=form.content_type)
    seconds, kind = site.web.dicomweb.send_seconds, form.content_type.partition(";")[0]
    part = Part(form.content_type, [frame], size=len(frame))
    return multipart([part], kind, threads=site.readers, seconds=seconds)


def _send_value(request: Request, site: Site, image: Image, value: BulkValue) -> Response:
    wanted = accepted(request)
    form = form_of_frames(wanted, image.transfer_syntax_uid, is_encapsulated=False)
    if form is None:
        raise HTTPException(406, f"there is {OCTETS} here, and nothing else")
    asked.note_parts(request, site, image.study_instance_uid)
    blocks = _value_blocks(site, image, value)
    seconds = site.web.dicomweb.send_seconds
    if not form.is_multipart:
        return Streamed(blocks, threads=site.readers, seconds=seconds, media_type=OCTETS)
    part = Part(OCTETS, blocks, size=value.length)
    return multipart([part], OCTETS, threads=site.readers, seconds=seconds)


def _value_blocks(site: Site, image: Image, value: BulkValue) -> Iterator[bytes]:
    with opened(site, image) as file, data_set_of(file, image, _limits(site)) as data_set:
        data_set.source.seek(data_set.base + value.offset)
        left = value.length
        while left and (block := data_set.source.read(min(BLOCK, left))):
            left -= len(block)
            yield swapped(block, value.word)
