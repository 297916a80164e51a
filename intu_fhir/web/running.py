"""Starts the web page of a site, and stops it."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from intu_fhir.app.wiring import App
from intu_fhir.db.session import Database
from intu_fhir.errors import ConfigurationError
from intu_fhir.receive.tls import server_context
from intu_fhir.settings.base import address_from_here
from intu_fhir.settings.fingerprint import fingerprint
from intu_fhir.settings.web import Web
from intu_fhir.web.access.users import read_users
from intu_fhir.web.application import create_app
from intu_fhir.web.context import THREADS, Site
from intu_fhir.web.readiness import readiness
from intu_fhir.web.server import WebServer

_log = structlog.get_logger("intu_fhir.web")


class WebPage:
    """The web page of a site.

    Args:
        is_receiving: whether the listeners are there; None where this process has none to have.
    """

    def __init__(self, app: App, is_receiving: Callable[[], bool] | None = None) -> None:
        web = app.configuration.site.web
        require_people(web)
        self._database = Database(app.configuration.site.database, pool_size=THREADS)
        self.site = Site(
            configuration=app.configuration,
            app=app,
            database=self._database,
            clock=app.clock,
            ready=lambda: readiness(app, self._database, is_receiving),
            begun_with=fingerprint(app.configuration),
        )
        self.application = create_app(self.site)
        context = server_context(web.tls) if web.tls else None
        self.server = WebServer(self.application, web, context)

    def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigurationError: the port is taken.
        """
        self.server.start()
        web, port = self.site.web, self.server.port
        _log.info("web_listening", port=port, tls=web.tls is not None, page=address_of(web, port))

    def stop(self) -> None:
        """Finish the requests in hand and stop."""
        self.server.stop()
        self.site.far_sides.close()
        if self.site.provider is not None:
            self.site.provider.close()
        self._database.close()


def address_of(web: Web, port: int) -> str:
    """Return what a browser on this machine is given to see the page."""
    return address_from_here("https" if web.tls else "http", web.host, port)


def require_people(web: Web) -> None:
    """Refuse to start where a file of people is all there is, and nobody is in it.

    Raises:
        ConfigurationError: nobody could log in, or a line of the file is wrong.
    """
    if web.users_file is not None and not read_users(web.users_file) and web.oidc is None:
        raise ConfigurationError(
            f"{web.users_file} names nobody, so nobody could log in; run "
            "`intu-fhir users add NAME --role administrator`",
            key="web.users_file",
        )
