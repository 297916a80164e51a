"""What nobody expected: logged by its kind and place, answered with a plain sentence."""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intu_fhir.errors import IntuError
from intu_fhir.observe.metrics import WEB_REQUESTS, WEB_SECONDS
from intu_fhir.web.http.problems import refusal

_log = structlog.get_logger("intu_fhir.web")
NOWHERE = "none"
ENDINGS = (IntuError, TimeoutError)
"""What may end an answer on its way without a fault of ours: a damaged file, a reader who left."""


class LastResort:
    """Answers 500 where everything else has failed, and counts every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        except Exception as error:  # noqa: BLE001  (one request's end is never the server's)
            if not (status and isinstance(error, ENDINGS)):
                _log.error("web_failed", error=type(error).__name__, where=_place(error))
            if status == 0:
                text = "That went wrong; the log names the place. Please report it."
                await refusal(scope["path"], 500, text)(scope, receive, send_and_see)
        route = getattr(scope.get("route"), "path", NOWHERE)
        WEB_REQUESTS.labels(route, str(status)).inc()
        WEB_SECONDS.labels(route).observe(time.monotonic() - began)


def _place(error: BaseException) -> str:
    """Name the line that raised; never the message, which may hold what was asked for."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    code = traceback.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}"
