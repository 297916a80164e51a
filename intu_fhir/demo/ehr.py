"""A stand-in EHR: a small real FHIR server on the loopback interface.

For demonstrations and tests on one machine, not for patients: it authenticates nobody.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

import orjson

from intu_fhir.demo.ehr_page import start_page
from intu_fhir.demo.fhir_http import Asked, Reply
from intu_fhir.demo.fhir_rules import outcome
from intu_fhir.demo.fhir_service import Features, FhirService
from intu_fhir.demo.fhir_store import FhirStore, Resource

__all__ = ["Fault", "Features", "Received", "StandInEhr"]

_MAX_BODY_BYTES = 64 * 1024**2
_WRITES = ("PUT ImagingStudy*", "POST ImagingStudy", "POST ")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request.

    Args:
        status: answered instead of doing anything; 0 does what was asked.
        done: what was asked is done all the same; ``status`` is only what is said of it.
        body: of that answer; an OperationOutcome where it is left out.
        delay: seconds until anything happens.
        drop: close the connection ``before`` or ``after`` doing what was asked, unanswered.
        on: which "METHOD path" it waits for, ``*`` standing for anything; any write of a study
            by default.
    """

    status: int = 0
    done: bool = field(default=False, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    drop: Literal["", "before", "after"] = ""
    on: tuple[str, ...] = _WRITES

    def is_for(self, method: str, path: str) -> bool:
        """Say whether it befalls this request; "POST " is a transaction."""
        return any(fnmatchcase(f"{method} {path}", pattern) for pattern in self.on)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came: ``path`` below the base URL, with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class StandInEhr:
    """Serves from ``with`` to the end of its block.

    Args:
        folder: where resources are kept, a JSON file for each version.
        release: ``r4`` or ``r5``.
        port: 0 takes any free one; read ``port`` then.
        authorize: judges the Authorization header; 401 where it says no.
        ready_made: resources that are there from the start, ids included.
        tls: settings of a TLS server.
    """

    def __init__(
        self,
        folder: Path,
        release: str = "r4",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        features: Features | None = None,
        authorize: Callable[[str], bool] | None = None,
        ready_made: tuple[Resource, ...] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.release, self.host, self.port = release, host, port
        self.received: list[Received] = []
        self.authorize = authorize
        self._tls = tls
        folder.mkdir(parents=True, exist_ok=True)
        self.store = FhirStore(folder)
        for resource in ready_made:
            self.store.write(resource, resource["id"])
        self._features = features or Features()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._service: FhirService | None = None

    @property
    def url(self) -> str:
        """Where a browser finds the start page."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self.host}:{self.port}/"

    @property
    def base_url(self) -> str:
        """Where FHIR clients find the server."""
        return f"{self.url}fhir"

    def resources(self, resource_type: str = "") -> list[Resource]:
        """Return the newest version of every resource, or of those of one type."""
        return self.store.all(resource_type)

    def versions(self, resource_type: str, identity: str) -> list[Resource | None]:
        """Return all versions of a resource, the oldest first."""
        return self.store.history(resource_type, identity)

    def fail_next(self, *faults: Fault) -> None:
        """Let the next requests that they are for go wrong, each fault once, in this order."""
        with self._lock:
            self._faults.extend(faults)

    def fail_no_more(self) -> None:
        """Let nothing go wrong of what has been asked for and has not happened yet."""
        with self._lock:
            self._faults.clear()

    def offer(self, features: Features) -> None:
        """Offer other features from now on, as after an upgrade."""
        self._features = features
        if self._service:
            self._service.features = features

    def start(self) -> Self:
        """Begin to listen."""
        self._server = _Server((self.host, self.port), _Handler)
        self._server.ehr = self
        self.port = self._server.server_address[1]
        if self._tls:
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._service = FhirService(self.store, self.release, self.base_url, self._features)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="stand-in-ehr", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and close every connection; safe to call twice."""
        self.stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def fault_for(self, method: str, path: str) -> Fault:
        """Take the next fault for a request; one that does nothing where none waits."""
        with self._lock:
            fault = next((f for f in self._faults if f.is_for(method, path)), None)
            if fault is None:
                return Fault()
            self._faults.remove(fault)
            return fault

    def answer(self, asked: Asked) -> Reply:
        """Answer a FHIR request."""
        if self.authorize and not self.authorize(asked.headers.get("authorization", "")):
            return Reply(401, outcome("login", "who are you?"))
        if self._service is None:
            raise RuntimeError("start the server first")
        return self._service.answer(asked)


class _Server(ThreadingHTTPServer):
    """A server that closes its connections when it ends."""

    daemon_threads = True
    ehr: StandInEhr

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """End all connections, then stop listening."""
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent when a client goes away."""


class _Handler(BaseHTTPRequestHandler):
    """HTTP of the stand-in."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log: queries may name patients."""

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        body = self._body()
        if body is None:
            return
        if path == "/":
            page = start_page(self.server.ehr.resources(), self.server.ehr.release)
            self._send(200, "text/html; charset=utf-8", page.encode(), {})
            return
        below = path.removeprefix("/fhir").strip("/")
        if not path.startswith("/fhir"):
            self._reply(Reply(404, outcome("not-found", "FHIR is at /fhir")))
            return
        self._serve_fhir(below, query, body)

    def _serve_fhir(self, path: str, query: str, body: bytes) -> None:
        ehr = self.server.ehr
        headers = {name.lower(): value for name, value in self.headers.items()}
        shown = path + (f"?{query}" if query else "")
        ehr.received.append(Received(self.command, shown, headers, body))
        fault = ehr.fault_for(self.command, path)
        if fault.delay:
            ehr.stopping.wait(fault.delay)
        if fault.drop == "before":
            self.close_connection = True
            return
        segments = tuple(map(unquote, filter(None, path.split("/"))))
        asked = Asked(self.command, segments, query, headers, body)
        if fault.status:
            if fault.done:
                ehr.answer(asked)
            said = orjson.dumps(outcome("exception", "as the script says"))
            kind = "application/fhir+json" if fault.body is None else "text/plain"
            content = said if fault.body is None else fault.body
            self._send(fault.status, kind, content, fault.headers)
            return
        reply = ehr.answer(asked)
        if fault.drop == "after":
            self.close_connection = True
            return
        self._reply(reply)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  (http.server's names)

    def _body(self) -> bytes | None:
        """Read the body; a length that cannot be read or is too large ends the connection."""
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            self._reply(Reply(413, outcome("too-long", "the body is too large")))
            return None
        return self.rfile.read(int(length))

    def _reply(self, reply: Reply) -> None:
        body = orjson.dumps(reply.resource) if reply.resource is not None else b""
        self._send(reply.status, "application/fhir+json", body, reply.headers)

    def _send(self, status: int, kind: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if body:
            self.send_header("Content-Type", kind)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(body)
