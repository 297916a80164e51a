"""The process that decodes frames: whatever happens to it, its work is accounted for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.pixels.encoders.base import get_encoder

from intu_fhir.deliver.decoder import Decoder, NotDecoded
from intu_fhir.deliver.decoding import MAX_PROCESS_BYTES
from intu_fhir.deliver.image import MAX_FRAME_BYTES, Image
from intu_fhir.deliver.stored import NotNow
from intu_fhir.deliver.transport import Stopped
from tests.support.waiting import wait_until

JPEG_LS = "1.2.840.10008.1.2.4.80"
IMAGE = Image(JPEG_LS, 64, 64, 1, 8, 8, 0, "MONOCHROME2")
PIXELS = (np.arange(64 * 64) % 251).astype("u1")


def _yes() -> bool:
    return True


@pytest.fixture(scope="module")
def frame() -> bytes:
    """A compressed frame."""
    return _compressed(IMAGE, PIXELS)


def _compressed(image: Image, pixels: np.ndarray) -> bytes:
    encoder = get_encoder(image.transfer_syntax_uid)
    return encoder.encode(
        pixels.tobytes(),
        rows=image.rows,
        columns=image.columns,
        samples_per_pixel=1,
        bits_allocated=image.bits_allocated,
        bits_stored=image.bits_stored,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    """A decoder; its first frame waits for a process to begin, which a busy machine holds up."""
    made = Decoder()
    yield made
    made.close()
    assert made.pid is None


def test_frames_are_decoded_by_one_process(decoder: Decoder, frame: bytes) -> None:
    """The process begins with the first frame, serves the next ones and ends with its decoder."""
    assert decoder.pid is None
    assert decoder.decode(IMAGE, frame, _yes) == (PIXELS.tobytes(), "MONOCHROME2")
    pid = decoder.pid
    with pytest.raises(NotDecoded, match="another size"):
        decoder.decode(IMAGE, _compressed(_sized(32), PIXELS[: 32 * 32]), _yes)
    assert decoder.decode(IMAGE, frame, _yes)[0] == PIXELS.tobytes()
    assert decoder.pid == pid
    decoder.close()
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()


def _sized(size: int) -> Image:
    return Image(JPEG_LS, size, size, 1, 8, 8, 0, "MONOCHROME2")


@pytest.mark.parametrize("junk", [b"", b"\xff\xd8", os.urandom(5_000), b"\xff\xd8" * 2_000])
def test_junk_is_not_decoded(decoder: Decoder, junk: bytes, frame: bytes) -> None:
    """Bytes that are no image are refused, and the next frame is decoded."""
    with pytest.raises(NotDecoded):
        decoder.decode(IMAGE, junk, _yes)
    assert decoder.decode(IMAGE, frame, _yes)[0] == PIXELS.tobytes()


def _while_stopped(decoder: Decoder, frame: bytes, then: signal.Signals) -> None:
    """Hold the process while it has a frame in hand, and send it a signal then."""
    decoder.decode(IMAGE, frame, _yes)
    pid = decoder.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    def end() -> bool:
        """Asked for the first time, we have sent the frame and wait for the answer."""
        os.kill(pid, then)
        os.kill(pid, signal.SIGCONT)  # who is stopped dies of SIGKILL alone
        return True

    decoder.decode(IMAGE, frame, end)


def test_decoder_that_crashes(decoder: Decoder, frame: bytes) -> None:
    """A crash of foreign code is one image's failure; the next is decoded by a new process."""
    with pytest.raises(NotDecoded, match="crashes"):
        _while_stopped(decoder, frame, signal.SIGSEGV)
    assert decoder.decode(IMAGE, frame, _yes)[0] == PIXELS.tobytes()


def test_decoder_that_somebody_kills(decoder: Decoder, frame: bytes) -> None:
    """Who was killed from outside, such as for lack of memory, did not fail at this image."""
    with pytest.raises(NotNow, match="was killed"):
        _while_stopped(decoder, frame, signal.SIGKILL)


def test_decoder_that_hangs(
    decoder: Decoder, frame: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that takes too long is given up, and its process is ended."""
    decoder.decode(IMAGE, frame, _yes)
    monkeypatch.setattr(decoder, "_frame_seconds", 3.0)
    pid = decoder.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(NotDecoded, match="more than 3 s"):
        decoder.decode(IMAGE, frame, _yes)
    assert time.monotonic() - begun < 30  # a frame has a minute otherwise
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the process is gone")


def test_who_may_not_go_on_stops(decoder: Decoder, frame: bytes) -> None:
    """While a frame is decoded the caller is asked now and then, and may stop."""
    decoder.decode(IMAGE, frame, _yes)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGSTOP)
    with pytest.raises(Stopped):
        decoder.decode(IMAGE, frame, lambda: False)


def test_process_ends_when_its_parent_is_gone(decoder: Decoder, frame: bytes) -> None:
    """The end of its input ends it, as it comes when the process that asks dies."""
    decoder.decode(IMAGE, frame, _yes)
    process = decoder._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0


def test_largest_frame_fits_into_the_memory_of_a_process(tmp_path: Path) -> None:
    """The largest frame that is decoded takes less than a process may have."""
    side = 8_192
    image = Image(JPEG_LS, side, side, 1, 16, 16, 0, "MONOCHROME2")
    assert image.frame_bytes == MAX_FRAME_BYTES
    pixels = np.zeros(side * side, "<u2")
    decoder = Decoder()
    try:
        decoded, _ = decoder.decode(image, _compressed(image, pixels), _yes)
        assert len(decoded) == MAX_FRAME_BYTES
        assert not any(decoded[:: 1 << 20])
        limits = Path(f"/proc/{decoder.pid}/limits").read_text(encoding="ascii")
        (line,) = [one for one in limits.splitlines() if one.startswith("Max address space")]
        assert str(MAX_PROCESS_BYTES) in line
    finally:
        decoder.close()


def test_too_large_a_frame_is_not_even_tried(decoder: Decoder) -> None:
    """A frame above the limit is refused before anything is asked."""
    with pytest.raises(NotDecoded, match="larger than 128 MiB"):
        decoder.decode(Image(JPEG_LS, 9_000, 9_000, 1, 16, 16, 0, "MONOCHROME2"), b"x", _yes)
    assert decoder.pid is None
