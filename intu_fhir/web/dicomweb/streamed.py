"""An answer that is made while it is sent: bounded in memory, given up when nobody takes it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from intu_fhir.web.dicomweb.media import MULTIPART
from intu_fhir.web.http.head import is_without_content

BLOCK = 1 << 18
"""Bytes that are read and sent at a time."""


@dataclass(frozen=True)
class Part:
    """One part of a multipart answer.

    Args:
        size: bytes; None where nobody knows before.
    """

    content_type: str
    blocks: Iterable[bytes]
    size: int | None = None
    location: str = ""

    def head(self) -> bytes:
        """Return the headers of the part (RFC 2387)."""
        lines = [f"Content-Type: {self.content_type}"]
        if self.size is not None:
            lines.append(f"Content-Length: {self.size}")
        if self.location:
            lines.append(f"Content-Location: {self.location}")
        return "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"\r\n"


def in_parts(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    """Give the body of a multipart answer."""
    for part in parts:
        yield f"--{boundary}\r\n".encode("ascii") + part.head()
        yield from part.blocks
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


class Streamed(StreamingResponse):
    """Sends blocks as they are made.

    Args:
        threads: bounds how many answers read at the same time, so that pages keep theirs.
        seconds: how long the other side may take nothing.
    """

    def __init__(
        self,
        blocks: Iterator[bytes],
        *,
        threads: CapacityLimiter,
        seconds: float,
        media_type: str,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(iter(()), status_code, headers, media_type)
        self._blocks, self._threads, self._seconds = blocks, threads, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what nobody gets is not read."""
        if is_without_content(scope):
            self._blocks = iter(())
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send everything, then close what it was read from; also when that is given up."""
        start = {"type": "http.response.start", "status": self.status_code}
        try:
            await send({**start, "headers": self.raw_headers})
            while block := await to_thread.run_sync(next, self._blocks, b"", limiter=self._threads):
                async with asyncio.timeout(self._seconds):
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(self._blocks, "close", None)
            if close is not None:
                close()


def multipart(
    parts: Iterable[Part],
    kind: str,
    *,
    threads: CapacityLimiter,
    seconds: float,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Streamed:
    """Return parts of one kind as an answer (PS3.18 8.6.1.2).

    Args:
        kind: media type of the parts, without parameters.
    """
    boundary = uuid.uuid4().hex
    return Streamed(
        in_parts(parts, boundary),
        threads=threads,
        seconds=seconds,
        media_type=f'{MULTIPART}; type="{kind}"; boundary={boundary}',
        status_code=status_code,
        headers=headers,
    )
