"""The gate before all routes: our name, the proxy, who asks, and whether they mean it."""

from __future__ import annotations

from http.cookies import SimpleCookie
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from intu_fhir.errors import IntuError, TransientError
from intu_fhir.web.access.hosts import is_our_name
from intu_fhir.web.access.visits import Visit
from intu_fhir.web.context import Site
from intu_fhir.web.http.bodies import Replay
from intu_fhir.web.http.forms import SAFE, objection
from intu_fhir.web.http.identify import Asker, comes_from_proxy, identify
from intu_fhir.web.http.problems import refusal
from intu_fhir.web.http.trail import BACKGROUND

MAX_FIELDS = 10_000
_FORM = "application/x-www-form-urlencoded"
_NO_VISIT = ("/static/", "/healthz", "/readyz", "/metrics")


class Gate:
    """Lets a request through with ``state.asker`` and ``state.fields``, or refuses it."""

    def __init__(self, app: ASGIApp, *, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if stranger := self._stranger(request):
            await stranger(scope, receive, send)
            return
        try:
            asker = await self._identify(request)
        except IntuError as error:
            status = 503 if isinstance(error, TransientError) else 500
            await refusal(request.scope["path"], status, str(error))(scope, receive, send)
            return
        fields = await _fields(request)
        request.state.asker, request.state.fields = asker, fields
        if reason := objection(request, self._site, fields):
            text = f"The request was refused: {reason}."
            await refusal(request.scope["path"], 403, text)(scope, receive, send)
            return
        body = receive if request.method in SAFE else Replay(await request.body(), receive)
        await self._app(scope, body, self._sending(scope, asker, request, send))

    def _stranger(self, request: Request) -> Response | None:
        """Refuse who calls us by another name, or comes past the proxy."""
        names = request.headers.getlist("host")
        if len(names) != 1 or not is_our_name(names[0], self._site.web):
            text = "Nobody of that name is here; web.allowed_hosts lists our names."
            return refusal(request.scope["path"], 421, text)
        proxy = self._site.web.trusted_proxy
        if proxy is not None and not comes_from_proxy(request, proxy):
            return refusal(request.scope["path"], 403, "Come by the proxy.")
        return None

    async def _identify(self, request: Request) -> Asker:
        # Reads the file of users or asks for a token in the database, so not on the event loop.
        return await run_in_threadpool(identify, request, self._site)

    def _sending(self, scope: Scope, asker: Asker, request: Request, send: Send) -> Send:
        """Put the visit's cookie into the answer where it is new or has to be noted."""

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit = getattr(request.state, "begun", None) or self._to_note(request, asker)
                if visit is not None:
                    headers = MutableHeaders(scope=message)
                    headers.append("set-cookie", cookie_of(visit, self._site))
            await send(message)

        return send_with_cookie

    def _to_note(self, request: Request, asker: Asker) -> Visit | None:
        if asker.visit is None or request.url.path.startswith(_NO_VISIT):
            return None
        if asker.is_new:
            return asker.visit
        if BACKGROUND in request.headers:
            return None
        return self._site.visits.again(asker.visit, self._site.clock.now())


def cookie_of(visit: Visit, site: Site) -> str:
    """Return the Set-Cookie header of a visit."""
    cookie: SimpleCookie = SimpleCookie()
    cookie[site.cookie] = site.visits.seal(visit)
    one = cookie[site.cookie]
    one["path"], one["httponly"], one["samesite"] = "/", True, "Lax"
    if site.is_https:
        one["secure"] = True
    return cookie.output(header="").strip()


async def _fields(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form; files are not taken."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in SAFE or kind != _FORM:
        return {}
    text = (await request.body()).decode("utf-8", "replace")
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields
