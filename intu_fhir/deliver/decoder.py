"""Our side of the process that decodes frames: asked, waited for with a deadline, ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from intu_fhir.deliver.decoding import LENGTH
from intu_fhir.deliver.explicit_vr import NotConvertible
from intu_fhir.deliver.image import MAX_FRAME_BYTES, Image
from intu_fhir.deliver.stored import NotNow
from intu_fhir.deliver.transport import HEARTBEAT_SECONDS, Stopped

FRAME_SECONDS = 60.0
"""The longest that one frame may take."""
_LET_IT_DIE_SECONDS = 0.5
"""Within this a process ends that has read the end of its input, or that crashed."""
_MAX_ANSWER_BYTES = 4096
_CHUNK_BYTES = 1 << 20


class NotDecoded(NotConvertible):
    """A frame cannot be decoded."""


class Decoder:
    """Decodes frames in a process of its own, which begins with the first; use it in one thread.

    Args:
        frame_seconds: the longest that one frame may take.
    """

    def __init__(self, frame_seconds: float = FRAME_SECONDS) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._frame_seconds = frame_seconds

    @property
    def pid(self) -> int | None:
        """Id of the process that decodes; None where there is none."""
        return self._process.pid if self._process else None

    def decode(
        self, image: Image, frame: bytes, keep_going: Callable[[], bool]
    ) -> tuple[bytes, str]:
        """Return a frame decoded, colour by pixel, and its Photometric Interpretation.

        Raises:
            NotDecoded: it cannot be.
            NotNow: the process was killed from outside, so that another try may go through.
            Stopped: ``keep_going`` said no.
        """
        if max(len(frame), image.frame_bytes) > MAX_FRAME_BYTES:
            raise NotDecoded(f"a frame of it is larger than {MAX_FRAME_BYTES >> 20} MiB")
        text = json.dumps({**asdict(image), "size": len(frame)}).encode()
        try:
            until = time.monotonic() + self._frame_seconds
            return self._exchange(_Exchange(self._running(), keep_going, until), text, frame, image)
        except BaseException as error:
            if not isinstance(error, NotDecoded):
                self.close()
            raise

    def _exchange(
        self, exchange: _Exchange, text: bytes, frame: bytes, image: Image
    ) -> tuple[bytes, str]:
        try:
            exchange.send(LENGTH.pack(len(text)) + text)
            exchange.send(frame)
            (length,) = LENGTH.unpack(exchange.receive(LENGTH.size))
            answer = json.loads(exchange.receive(min(length, _MAX_ANSWER_BYTES)))
            if "error" in answer:
                raise NotDecoded(answer["error"])
            return exchange.receive(image.frame_bytes), answer["photometric_interpretation"]
        except TimeoutError:
            self.close()
            raise NotDecoded(
                f"decoding a frame takes more than {self._frame_seconds:g} s"
            ) from None
        except (EOFError, OSError):
            raise self._death() from None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "intu_fhir.deliver.decoding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # threads of its own would reserve memory
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
        return self._process

    def _death(self) -> NotDecoded | NotNow:
        """Say why the process ended."""
        process = self._process
        assert process is not None
        self.close()
        if process.returncode in {-signal.SIGKILL, -signal.SIGTERM}:
            return NotNow("the decoding process was killed")
        return NotDecoded("the decoder crashes on it")

    def close(self) -> None:
        """End the process; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        if process.poll() is None:
            try:
                process.wait(_LET_IT_DIE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Exchange:
    """One request and its answer, over pipes that never block."""

    def __init__(
        self, process: subprocess.Popen[bytes], keep_going: Callable[[], bool], until: float
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        self._keep_going, self._until = keep_going, until

    def send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._to, select.POLLOUT)
            left = left[os.write(self._to, left[:_CHUNK_BYTES]) :]

    def receive(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self._wait(self._from, select.POLLIN)
            part = os.read(self._from, min(size - len(parts), _CHUNK_BYTES))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _wait(self, pipe: int, event: int) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        while not poll.poll(HEARTBEAT_SECONDS * 1000):
            if not self._keep_going():
                raise Stopped("sending was stopped")
            if time.monotonic() > self._until:
                raise TimeoutError
