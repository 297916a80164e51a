"""Reads the body of a request before anything else sees it: bounded in size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intu_fhir.web.http.problems import refusal

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


_MOST_DROPPED = 32 * 1024 * 1024
"""Bytes of a body that is too large which are waited for."""


class WholeBody:
    """Gives the whole body to the application at once, or refuses it.

    Args:
        max_bytes: more is answered 413.
        seconds: a body that takes longer is answered 408.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app, self._max_bytes, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(Request(scope, receive), receive)
        except TimeoutError:
            await _refuse(scope, 408, "The request took too long.")(scope, receive, send)
            return
        except ClientDisconnect:
            return  # half a form is another form, and nobody reads the answer
        if body is None:
            text = f"The request is larger than {self._max_bytes} bytes."
            await _refuse(scope, 413, text)(scope, receive, send)
            return
        await self._app(scope, Replay(body, receive), send)

    async def _read(self, request: Request, receive: Receive) -> bytes | None:
        """Return the body, or None where it is too large.

        What is too large is read to its end all the same, and dropped: who closes on a side that
        still sends takes the answer away from it.

        Raises:
            ClientDisconnect: the other side went before its body was whole.
        """
        length = request.headers.get("content-length", "0")
        is_small = length.isdecimal() and int(length) <= self._max_bytes
        body, size = bytearray(), 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            part = message.get("body", b"")
            size += len(part)
            is_small = is_small and size <= self._max_bytes
            if is_small:
                body += part
            else:
                body.clear()
            if not message.get("more_body", False) or size > _MOST_DROPPED:
                return bytes(body) if is_small else None


def _refuse(scope: Scope, status: int, text: str) -> Response:
    return refusal(scope["path"], status, text, headers={"connection": "close"})


class Replay:
    """Gives a body that was read already, then what the connection says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        """Return the next message."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
