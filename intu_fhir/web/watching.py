"""What machines ask of a process without a web page: does it live, is it ready, and the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.to_thread
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from intu_fhir.app.wiring import App
from intu_fhir.db.session import Database
from intu_fhir.observe.clock import Clock
from intu_fhir.observe.summed import OtherProcesses
from intu_fhir.settings.schema import Configuration
from intu_fhir.settings.web import Web
from intu_fhir.web.cached import Cached
from intu_fhir.web.http.last_resort import LastResort
from intu_fhir.web.readiness import readiness, ready_response
from intu_fhir.web.server import WebServer
from intu_fhir.web.standing import metrics_response

_log = structlog.get_logger("intu_fhir.web")
_THREADS = 2
_CONNECTIONS = 20
_REQUEST_SECONDS = 5.0


@dataclass(frozen=True)
class Watched:
    """A process that is watched; it has connections to the database of its own."""

    configuration: Configuration
    database: Database
    clock: Clock
    others: OtherProcesses


class WatchPage:
    """Answers ``/healthz``, ``/readyz`` and ``/metrics``, and nothing else.

    Beyond this machine ``/metrics`` is there only where ``web.public_metrics`` opens it, as on the
    web page.

    Args:
        host: address to listen on.
        is_receiving: whether the listeners are there; None where this process has none to have.
        is_stopping: whether the process finishes what it has in hand and takes nothing new.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        is_receiving: Callable[[], bool] | None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_stopping = is_stopping
        self._app, self._is_receiving = app, is_receiving
        self._database = Database(app.configuration.site.database, pool_size=_THREADS)
        self._watched = Watched(app.configuration, self._database, app.clock, app.others)
        self._cached = Cached()
        self._web = Web(
            host=host,
            port=port,
            max_connections=_CONNECTIONS,
            max_connections_per_address=_CONNECTIONS,
            request_seconds=_REQUEST_SECONDS,
        )
        remedy = "name another address with --watch"
        self.server = WebServer(self._application(), self._web, remedy=remedy)

    def start(self) -> None:
        """Listen and answer.

        Raises:
            ConfigurationError: the port is taken, or the address is none of this machine.
        """
        self.server.start()
        _log.info("watch_listening", port=self.server.port)

    def stop(self) -> None:
        """Finish the requests in hand and stop."""
        self.server.stop()
        self._database.close()

    def _application(self) -> LastResort:
        routes = [Route("/healthz", self._alive), Route("/readyz", self._ready)]
        if self._web.is_loopback or self._app.configuration.site.web.public_metrics:
            routes.append(Route("/metrics", self._metrics))
        return LastResort(Starlette(routes=routes, lifespan=_few_threads))

    async def _alive(self, _request: Request) -> Response:
        # In no thread: a database that is silent may hold all of them.
        return PlainTextResponse("ok\n")

    def _ready(self, _request: Request) -> Response:
        if self._is_stopping():
            return ready_response({"process": "is stopping"})
        return ready_response(readiness(self._app, self._database, self._is_receiving))

    def _metrics(self, _request: Request) -> Response:
        return metrics_response(self._watched, self._cached)


@asynccontextmanager
async def _few_threads(_app: Starlette) -> AsyncIterator[None]:
    """Answer few at a time: the work of the process has the machine first."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield
