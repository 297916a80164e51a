"""A way to an object store on which answers can be spoiled, and requests are written down."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.object_stores import Running

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


class StoreProxy(Running):
    """Hands requests on to a server and answers back.

    Args:
        puts: headers of each request that stores an object.
        spoils: change the last byte of each object that is read.
        refuses: answer 403 to whoever reads an object.
        denies: answer 403 to whoever stores an object, which is stored all the same.
        keeps: names, or ends of names, of what nobody may remove; such a request is answered 403.
        removals: paths of the requests to remove something, in order.
    """

    def __init__(self, server: Running) -> None:
        self.puts: list[Mapping[str, str]] = []
        self.spoils = self.refuses = self.denies = False
        self.keeps: set[str] = set()
        self.removals: list[str] = []
        self._behind = urlsplit(server.endpoint).netloc
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        super().__init__(f"http://127.0.0.1:{self._listener.server_port}")
        self._thread = threading.Thread(target=self._listener.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.pass_on(self)

            do_PUT = do_HEAD = do_DELETE = do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        """Hand one request on, and its answer back."""
        body = asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
        if asked.command == "PUT":
            self.puts.append({name.lower(): value for name, value in asked.headers.items()})
        if asked.command == "DELETE":
            self.removals.append(asked.path)
            if any(asked.path.endswith(name) for name in self.keeps):
                self._refuse(asked)
                return
        behind = http.client.HTTPConnection(self._behind, timeout=30)
        behind.request(asked.command, asked.path, body, dict(asked.headers.items()))
        answer = behind.getresponse()
        content = answer.read()
        is_object = asked.command == "GET" and answer.status < 300 and "?" not in asked.path
        withheld = (self.refuses and is_object) or (self.denies and asked.command == "PUT")
        status = 403 if withheld else answer.status
        asked.send_response(status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                asked.send_header(name, value)
        if self.spoils and is_object and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        length = (
            answer.getheader("Content-Length", "0") if asked.command == "HEAD" else len(content)
        )
        asked.send_header("Content-Length", str(length))
        asked.end_headers()
        asked.wfile.write(b"" if asked.command == "HEAD" else content)
        behind.close()

    @staticmethod
    def _refuse(asked: BaseHTTPRequestHandler) -> None:
        asked.send_response(403)
        asked.send_header("Content-Length", "0")
        asked.end_headers()
