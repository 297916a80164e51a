"""HEAD: what GET answers, without its content (RFC 9110 9.3.2)."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MARK = "intu_fhir.without_content"


class Head:
    """Has a HEAD answered by what answers GET, and sends nothing of the content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_content(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        as_get = {**scope, "method": "GET", _MARK: True}
        try:
            await self._app(as_get, receive, send_without_content)
        finally:
            if "route" in as_get:
                scope["route"] = as_get["route"]  # the metrics name it


def is_without_content(scope: Scope) -> bool:
    """Say whether the content is not sent, so that it need not be made."""
    return _MARK in scope
