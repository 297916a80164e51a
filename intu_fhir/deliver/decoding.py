"""Decodes frames in a process of its own: ``python -m intu_fhir.deliver.decoding``.

Decoders are C code that reads what strangers wrote. One that crashes, or takes all the memory it
can get, ends this process and nothing else: the system keeps it below ``MAX_PROCESS_BYTES``.

It reads requests from its input and answers each, until its input ends. A request and an answer is
a length of four bytes (big endian), so many bytes of JSON, and the bytes that the JSON announces
as ``size``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

from intu_fhir.deliver.codestream import read_codestream
from intu_fhir.deliver.image import Image

MAX_PROCESS_BYTES = 2 << 30
"""Most address space of a decoding process; decoders hold a frame several times."""
LENGTH = struct.Struct(">I")
_DCT = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
"""Lossy JPEG, whose colours are stored at half the resolution and are given as RGB."""
_WHOLE = {"YBR_FULL_422": "YBR_FULL"}
"""A decoder has filled in the colours that were left out (PS3.3 C.7.6.3.1.2)."""
_NEVER_NATIVE = frozenset({"YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422"})


class Undecodable(Exception):
    """A frame cannot be decoded; the message says why without anything that it holds."""


_WANTED = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.5",
)
"""One transfer syntax for each decoder that there has to be."""


def missing_decoders() -> list[str]:
    """Return names of transfer syntaxes that this installation cannot decompress."""
    # Imported here, since it takes a second, and memory, of those who do not ask.
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    return [str(UID(uid).name) for uid in _WANTED if not get_decoder(uid).is_available]


def decode(image: Image, frame: bytes) -> tuple[bytes, str]:
    """Return a frame decoded, colour by pixel, and its Photometric Interpretation.

    Raises:
        Undecodable: it cannot be decoded to what the header says.
    """
    # Imported here, since the other side of the pipe needs this module without them.
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    rgb = _compared(image, frame)
    try:
        decoder = get_decoder(image.transfer_syntax_uid)
    except NotImplementedError:
        raise Undecodable("there is no decoder for this transfer syntax") from None
    if not decoder.is_available:
        raise Undecodable("no decoder for this transfer syntax is installed")
    raw = image.transfer_syntax_uid not in _DCT
    try:
        array, seen = decoder.as_array(
            encapsulate([frame], has_bot=False), index=0, raw=raw, **_options(image)
        )
    except MemoryError:
        raise Undecodable("decoding it takes too much memory") from None
    except Exception as error:  # noqa: BLE001  (foreign code, foreign bytes)
        raise Undecodable(f"no installed decoder can read it ({type(error).__name__})") from None
    decoded = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if len(decoded) != image.frame_bytes:
        raise Undecodable("it has another size than its header says")
    return decoded, _colours(str(seen["photometric_interpretation"]), rgb)


def _options(image: Image) -> dict[str, Any]:
    options = asdict(image)
    del options["transfer_syntax_uid"]
    # Bits beyond those stored stay as they are, since a header may put an overlay there.
    more = {"number_of_frames": 1, "pixel_keyword": "PixelData", "correct_unused_bits": False}
    return {**options, **more}


def _compared(image: Image, frame: bytes) -> bool:
    """Compare a frame with the header; say whether its decoder gives RGB in any case."""
    said = read_codestream(frame)
    if said is None:
        return False
    fits = said.rows in {0, image.rows} and said.columns == image.columns
    if not fits or said.samples != image.samples_per_pixel:
        raise Undecodable("it has another size than its header says")
    if said.precision > image.bits_allocated:
        raise Undecodable("it has more bits than its header says")
    return said.rgb


def _colours(photometric_interpretation: str, rgb: bool) -> str:
    """Return the Photometric Interpretation of what was decoded (PS3.5 8.2.1, 8.2.4)."""
    if rgb and photometric_interpretation.startswith("YBR"):
        return "RGB"
    if photometric_interpretation in _NEVER_NATIVE:
        raise Undecodable(f"its colours ({photometric_interpretation}) exist compressed only")
    return _WHOLE.get(photometric_interpretation, photometric_interpretation)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while head := requests.read(LENGTH.size):
        asked = json.loads(requests.read(*LENGTH.unpack(head)))
        frame = requests.read(asked.pop("size"))
        try:
            decoded, colours = decode(Image(**asked), frame)
            answer = {"size": len(decoded), "photometric_interpretation": colours}
        except Undecodable as error:
            decoded, answer = b"", {"size": 0, "error": str(error)}
        text = json.dumps(answer).encode()
        answers.write(LENGTH.pack(len(text)) + text)
        answers.write(decoded)
        answers.flush()


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is meant for the process that asks
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # decoders complain there, of what patients' files hold
        os.dup2(nowhere, output)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_PROCESS_BYTES, MAX_PROCESS_BYTES))
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
