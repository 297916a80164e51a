"""The HTTP server: a thread and an event loop of its own, bounded in connections and time."""

from __future__ import annotations

import socket
import ssl
import threading

import uvicorn
from starlette.types import ASGIApp

from intu_fhir.errors import ConfigurationError
from intu_fhir.model.bound import why_not_bound
from intu_fhir.settings.web import Web
from intu_fhir.web.http.protocol import Bounds, bounded_protocol

_BACKLOG = 128
_KEEP_ALIVE_SECONDS = 15
_START_SECONDS = 20.0
_MAX_HEADER_BYTES = 32_768


class WebServer:
    """Serves an application from a thread of its own.

    Args:
        context: TLS; absent = plain HTTP.
        remedy: what to do where it cannot listen.
    """

    def __init__(
        self,
        app: ASGIApp,
        web: Web,
        context: ssl.SSLContext | None = None,
        *,
        remedy: str = "correct host or port, or set web.enabled: false",
    ) -> None:
        self._web, self._context, self._remedy = web, context, remedy
        bounds = Bounds(web.max_connections, web.max_connections_per_address)
        self._config = uvicorn.Config(
            app,
            http=bounded_protocol(bounds, web.request_seconds),
            loop="asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
        )
        self._server = uvicorn.Server(self._config)
        self._thread: threading.Thread | None = None
        self.port = web.port

    def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigurationError: the port is taken, or the address is none of this machine.
        """
        listening = self._listen()
        self.port = listening.getsockname()[1]
        self._config.load()
        self._config.ssl = self._context
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="web", daemon=True
        )
        self._thread.start()
        self._wait()

    def _wait(self) -> None:
        """Wait until the application is ready; what it could not start it has logged."""
        assert self._thread is not None
        pause = threading.Event()
        for _ in range(int(_START_SECONDS / 0.02)):
            if self._server.started or not self._thread.is_alive():
                break
            pause.wait(0.02)
        if not self._server.started:
            raise ConfigurationError("the web page did not start; see the log", key="web")

    def _listen(self) -> socket.socket:
        host, port = self._web.host, self._web.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(found[4][:2], family=found[0], backlog=_BACKLOG)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host} port {port} ({why_not_bound(error)}); {self._remedy}",
                key="web.port",
            ) from None

    def stop(self) -> None:
        """Finish the requests in hand and stop."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10)
            self._thread = None
