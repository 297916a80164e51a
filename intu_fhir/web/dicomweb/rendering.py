"""Frames as pictures (PS3.18 8.3.5): decoded by pydicom, shown through their window, by Pillow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pydicom.dataset import Dataset
from starlette.exceptions import HTTPException

from intu_fhir.db.image_files import Image
from intu_fhir.errors import DamagedFile, InvalidDataSet
from intu_fhir.model.extra import install
from intu_fhir.stage.encodings import Limits
from intu_fhir.web.context import Site
from intu_fhir.web.dicomweb.coded import coded_pixels
from intu_fhir.web.dicomweb.pixels import NoFrames, data_set_of, pixels_of
from intu_fhir.web.dicomweb.stored import opened

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_PIXELS = 40_000_000
"""A larger frame is not rendered; mammograms have about 25 million."""

MAX_BITS = MAX_PIXELS * 48
"""The same of a frame that is not compressed: three samples of 16 bits."""

WAIT_SECONDS = 20.0
"""How long a picture waits for its turn."""

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_SHOWN_BY = [
    *(0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056),  # window and rescale
    *(0x00283000, 0x00283010, 0x20500020),  # lookup tables
    *(0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203),  # palette
    *(0x00281221, 0x00281222, 0x00281223),
    *(_SHARED, _PER_FRAME),
]
_NOT_DECODED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What pydicom and its decoders raise for pixels that they cannot read."""

Function = Literal["linear", "linear-exact", "sigmoid"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which values are shown, from black to white (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: Function = "linear"


@dataclass(frozen=True, slots=True)
class Wish:
    """How a picture is wanted.

    Args:
        size: it is made smaller until it fits, width and height in pixels.
        quality: of a JPEG, 1 to 100.
    """

    kind: Literal["image/jpeg", "image/png"] = "image/jpeg"
    window: Window | None = None
    size: tuple[int, int] | None = None
    quality: int = 90


def decoded_frame(site: Site, image: Image, number: int) -> bytes:
    """Return a frame as uncompressed little endian bytes, in its own photometric interpretation.

    Raises:
        HTTPException: it cannot be decoded here.
    """
    with _turn(site), _reading(site, image, number) as file:
        array = _array(file, number, Dataset(), raw=True)
        little: Array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return little.tobytes()


def picture_of(site: Site, image: Image, number: int, wish: Wish) -> bytes:
    """Return a frame as a JPEG or PNG.

    Raises:
        HTTPException: it cannot be decoded or shown here.
    """
    with _turn(site), _reading(site, image, number) as file:
        header = Dataset()
        array = _array(file, number, header, raw=False)
        shown = _shown(array, header, number, wish.window)
        return _encoded(shown, wish)


@contextlib.contextmanager
def _turn(site: Site) -> Iterator[None]:
    """Let few pictures be made at the same time: each takes memory."""
    if not site.pictures.acquire(timeout=WAIT_SECONDS):
        raise HTTPException(
            503, "too many pictures are being made; ask again", {"retry-after": "5"}
        )
    try:
        yield
    finally:
        site.pictures.release()


@contextlib.contextmanager
def _reading(site: Site, image: Image, number: int) -> Iterator[BinaryIO]:
    try:
        with opened(site, image) as file:
            _require_bounds(site, image, file, number)
            yield _Whole(file)  # type: ignore[misc]
    except DamagedFile as error:
        raise HTTPException(410, str(error)) from None


def _require_bounds(site: Site, image: Image, file: BinaryIO, number: int) -> None:
    """See that a frame is there, and not too large, before a decoder makes room for it.

    Raises:
        HTTPException: it is not, by the header or by what is compressed itself.
    """
    limits = Limits.of(site.configuration.site.receiver)
    try:
        with data_set_of(file, image, limits) as data_set:
            pixels = pixels_of(data_set, image, limits)
            if number > pixels.frames:
                raise HTTPException(404, f"there are {pixels.frames} frames")
            coded = pixels.stored(data_set.source, number) if pixels.is_encapsulated else b""
    except (NoFrames, InvalidDataSet) as error:
        raise HTTPException(406, str(error)) from None
    if pixels.bits > MAX_BITS or coded_pixels(coded) > MAX_PIXELS:
        raise HTTPException(406, "the frame is too large to be shown; retrieve the instance")


class _Whole:
    """A file for pydicom, whose own trouble stays told from that of the pixels."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _array(file: BinaryIO, number: int, header: Dataset, *, raw: bool) -> Array:
    """Return the values of a frame, and fill in what says how they are shown."""
    try:
        import numpy  # noqa: F401
        import PIL  # noqa: F401
        from pydicom.pixels.utils import pixel_array
    except ModuleNotFoundError as error:
        raise HTTPException(
            406, f"pictures need {error.name} here: {install('rendered')}"
        ) from None
    try:
        array: Array = pixel_array(
            file, ds_out=header, specific_tags=_SHOWN_BY, index=number - 1, raw=raw
        )
    except _NOT_DECODED as error:
        raise _unshown(error) from None
    return array


def _unshown(error: Exception) -> HTTPException:
    kind = type(error).__name__
    return HTTPException(406, f"its pixel data cannot be decoded here ({kind})")


def _shown(array: Array, header: Dataset, number: int, window: Window | None) -> Array:
    try:
        if header.get("PhotometricInterpretation") == "PALETTE COLOR":
            from pydicom.pixels.processing import apply_color_lut

            return _eight_bits(apply_color_lut(array, header))
        if array.ndim == 3:
            return _eight_bits(array, int(header.get("BitsStored", 8)))
        return _gray(array, _of_frame(header, number), window)
    except _NOT_DECODED as error:
        raise _unshown(error) from None


def _eight_bits(array: Array, bits: int = 0) -> Array:
    bits = bits or array.dtype.itemsize * 8
    found: Array = (array >> max(0, bits - 8)).astype("uint8")
    return found


def _of_frame(header: Dataset, number: int) -> Dataset:
    """Return what shows one frame; an enhanced image has it in its functional groups."""
    groups = [*header.get("SharedFunctionalGroupsSequence", [])[:1]]
    groups += header.get("PerFrameFunctionalGroupsSequence", [])[number - 1 : number]
    for group in groups:
        for sequence in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(sequence, [])[:1]:
                header.update(item)
    return header


def _gray(array: Array, header: Dataset, window: Window | None) -> Array:
    import numpy as np
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    values = apply_modality_lut(array, header)
    chosen = window or _window(header)
    if window is None and header.get("VOILUTSequence"):
        table = header.VOILUTSequence[0]
        values = apply_voi(values.astype(array.dtype), header)
        shades = values.astype("float32") / (2.0 ** int(table.LUTDescriptor[2]) - 1)
    elif chosen is not None:
        shades = _through(values.astype("float32"), chosen)
    else:
        low, high = float(values.min()), float(values.max())
        shades = (values.astype("float32") - low) / ((high - low) or 1.0)
    if _is_inverse(header):
        shades = 1 - shades
    found: Array = (np.clip(shades, 0, 1) * 255 + 0.5).astype("uint8")
    return found


def _window(header: Dataset) -> Window | None:
    """Return the first window of a header."""
    center, width = (_first(header.get(k)) for k in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = str(header.get("VOILUTFunction", "LINEAR")).strip()
    known: dict[str, Function] = {"SIGMOID": "sigmoid", "LINEAR_EXACT": "linear-exact"}
    return Window(center, width, known.get(function, "linear"))


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


def _through(values: Array, window: Window) -> Array:
    """Return shades from 0, black, to 1, white; what is outside is cut off later."""
    import numpy as np

    found: Array
    if window.function == "sigmoid":
        found = 1 / (1 + np.exp(-4 * (values - window.center) / window.width))
    elif window.function == "linear-exact":
        found = (values - window.center) / window.width + 0.5
    elif window.width <= 1:
        found = (values > window.center - 0.5).astype("float32")
    else:
        found = (values - (window.center - 0.5)) / (window.width - 1) + 0.5
    return found


def _is_inverse(header: Dataset) -> bool:
    shape = header.get("PresentationLUTShape")
    if shape in {"IDENTITY", "INVERSE"}:
        return bool(shape == "INVERSE")
    return bool(header.get("PhotometricInterpretation") == "MONOCHROME1")


def _encoded(array: Array, wish: Wish) -> bytes:
    from PIL import Image as Pictures

    picture: Picture = Pictures.fromarray(array)
    if wish.size is not None:
        picture.thumbnail(wish.size)
    written = BytesIO()
    if wish.kind == "image/png":
        picture.save(written, "PNG")
    else:
        picture.save(written, "JPEG", quality=wish.quality)
    return written.getvalue()
