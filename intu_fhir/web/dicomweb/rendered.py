"""Pictures by WADO-RS: rendered frames and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Literal, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.image_files import Image
from intu_fhir.web.dicomweb import asked
from intu_fhir.web.dicomweb.images import images_in, is_gone, the_image
from intu_fhir.web.dicomweb.media import accepted
from intu_fhir.web.dicomweb.rendering import Function, Window, Wish, picture_of
from intu_fhir.web.rendering import site_of

NOT_SHOWN_PREFIXES = (
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.66",  # registrations and the like
)
"""Classes of objects that have no pixels, by the beginning of their UIDs (PS3.4 B.5)."""

THUMBNAIL = (256, 256)
MAX_SIDE = 10_000
_JPEG, _PNG = "image/jpeg", "image/png"
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)


def render(request: Request) -> Response:
    """Give a frame as a JPEG or PNG; without a number it is the first."""
    return _picture(request, the_image(request), _wish(request))


def thumbnail(request: Request) -> Response:
    """Give a small picture; of a study or series it is that of its first image."""
    wish = _wish(request)
    if wish.size is None:
        wish = replace(wish, size=THUMBNAIL)
    if "instance" in request.path_params:
        return _picture(request, the_image(request), wish)
    images = (one for one in images_in(request) if not is_gone(one))
    first = next((one for one in images if _is_shown(one)), None)
    if first is None:
        raise HTTPException(404, "there is no image to be shown")
    return _picture(request, first, wish)


def _is_shown(image: Image) -> bool:
    return not image.sop_class_uid.startswith(NOT_SHOWN_PREFIXES)


def _picture(request: Request, image: Image, wish: Wish) -> Response:
    site = site_of(request)
    content = picture_of(site, image, _frame(request), wish)
    asked.note_parts(request, site, image.study_instance_uid)
    return Response(content, media_type=wish.kind)


def _frame(request: Request) -> int:
    text = request.path_params.get("frames", "1")
    if not _NUMBER.fullmatch(text) or int(text) < 1:
        raise HTTPException(400, "one frame is rendered at a time; name it by its number")
    return int(text)


def _wish(request: Request) -> Wish:
    """Return how the picture is wanted.

    Raises:
        HTTPException: a parameter is not what PS3.18 8.3.5 says, or no accepted kind can be made.
    """
    given = request.query_params
    quality = given.get("quality", "90")
    if not (_NUMBER.fullmatch(quality) and 1 <= int(quality) <= 100):
        raise HTTPException(400, "quality is no number from 1 to 100")
    return Wish(
        _kind(request), _window(given.get("window")), _size(given.get("viewport")), int(quality)
    )


def _kind(request: Request) -> Literal["image/jpeg", "image/png"]:
    for one in accepted(request):
        if one.kind in {_JPEG, "image/*", "*/*"}:
            return "image/jpeg"
        if one.kind == _PNG:
            return "image/png"
    raise HTTPException(406, f"pictures are made as {_JPEG} or {_PNG}")


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    center, _, rest = text.partition(",")
    width, comma, name = rest.partition(",")
    function = next((one for one in get_args(Function) if one == name.lower()), None)
    found = Window(_number(center), _number(width), function or "linear")
    if found.width <= 0 or (comma and function is None):
        raise HTTPException(400, "window is not center,width,function")
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise HTTPException(400, "window is not center,width,function")
    return number


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(_NUMBER.fullmatch(one) for one in parts):
        raise HTTPException(400, "viewport is not width,height; regions are not supported")
    width, height = int(parts[0]), int(parts[1])
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise HTTPException(400, f"a viewport has sides from 1 to {MAX_SIDE}")
    return width, height
