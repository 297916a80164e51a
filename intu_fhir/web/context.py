"""What the pages work with; the composition root of the web page fills it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from anyio import CapacityLimiter

from intu_fhir.db.session import Database
from intu_fhir.observe.clock import Clock
from intu_fhir.observe.summed import OtherProcesses
from intu_fhir.receive.rejections import Rejected
from intu_fhir.settings.fingerprint import fingerprint
from intu_fhir.settings.schema import Configuration
from intu_fhir.settings.web import Web
from intu_fhir.web.access.attempts import Attempts
from intu_fhir.web.access.looks import Looks
from intu_fhir.web.access.oidc import Provider
from intu_fhir.web.access.tokens import Tokens
from intu_fhir.web.access.users import UserFile
from intu_fhir.web.access.visits import Visits
from intu_fhir.web.cached import Cached
from intu_fhir.web.compared import Compared
from intu_fhir.web.far_sides import FarSides
from intu_fhir.web.replays import Replays

if TYPE_CHECKING:
    from intu_fhir.app.wiring import App

THREADS = 6
"""Pages that are made at the same time; each has one connection to the database."""

PICTURES = 2
"""Frames that are decoded at the same time; each may take some hundred megabytes."""

READERS = 4
"""Files that are read for an answer at the same time, beside the pages."""


_LOOK_SECONDS = 5.0


@dataclass
class Site:
    """The site as the web page sees it.

    Args:
        app: what previews and checks of destinations need.
        database: connections of the web page's own, so that it takes none from the work.
        ready: what has to be there for the site to do its work; the value is what is wrong.
        begun_with: fingerprint of the configuration that this process has read.
    """

    configuration: Configuration
    app: App
    database: Database
    clock: Clock
    ready: Callable[[], Mapping[str, str]] = dict
    begun_with: str = ""
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    attempts: Attempts = field(default_factory=Attempts)
    looks: Looks = field(default_factory=Looks)
    cached: Cached = field(default_factory=Cached)
    replays: Replays = field(default_factory=Replays)
    compared: Compared = field(default_factory=Compared)
    pictures: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(PICTURES))
    readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))

    @property
    def web(self) -> Web:
        """The section ``web`` of the configuration."""
        return self.configuration.site.web

    @property
    def others(self) -> OtherProcesses:
        """What the other receiving processes of this one have counted."""
        return self.app.others

    def is_changed(self) -> bool:
        """Say whether the configuration was changed after this process had read it."""
        now = self.cached.get("fingerprint", _LOOK_SECONDS, lambda: fingerprint(self.configuration))
        return bool(self.begun_with) and now != self.begun_with

    def rejected(self) -> list[Rejected]:
        """Return who got no association lately from the listeners of this process."""
        return self.app.rejections.lately(self.clock.now())

    @cached_property
    def visits(self) -> Visits:
        """What makes and reads visits."""
        web = self.web
        return Visits(
            web.session_secret or self.secret,
            lifetime=timedelta(seconds=web.session_seconds),
            idle=timedelta(seconds=web.idle_seconds),
        )

    @cached_property
    def tokens(self) -> Tokens:
        """What says whose a token is."""
        return Tokens(self.database, self.clock, self.attempts)

    @cached_property
    def provider(self) -> Provider | None:
        """The identity provider, where one is configured."""
        return Provider(self.web.oidc, self.clock) if self.web.oidc else None

    @cached_property
    def far_sides(self) -> FarSides:
        """What asks the destinations whether they are there."""
        return FarSides(self.configuration.site.destinations, self.clock)

    @cached_property
    def users(self) -> UserFile | None:
        """The people of the password file, where there is one."""
        return UserFile(self.web.users_file) if self.web.users_file else None

    @property
    def is_https(self) -> bool:
        """Say whether people come by HTTPS, ended here or by a proxy."""
        proxy = self.web.trusted_proxy
        return self.web.tls is not None or (proxy is not None and proxy.ends_tls)

    @property
    def cookie(self) -> str:
        """Name of the visit's cookie: cookies do not tell ports apart, so the name does."""
        return f"{'__Host-' if self.is_https else ''}intu-{self.web.port}"
