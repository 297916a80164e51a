"""The web page of a site, served on a port of the loopback interface."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from intu_fhir.app.wiring import App, open_app
from intu_fhir.db.tokens import add_token
from intu_fhir.settings.load import load_configuration
from intu_fhir.web.access.roles import Role
from intu_fhir.web.access.tokens import hash_of, new_token
from intu_fhir.web.access.users import User, new_user, write_users
from intu_fhir.web.running import WebPage
from tests.support.ports import free_port
from tests.support.site_folder import write_site

PASSWORDS = {role: f"correct horse {role.word}" for role in Role}
"""Passwords of ``viewer``, ``operator`` and ``administrator``."""

_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


@dataclass
class Served:
    """A web page that runs."""

    folder: Path
    app: App
    page: WebPage
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.page.server.port}"

    def client(self, **options: Any) -> httpx.Client:
        """Return a browser without script that follows nothing by itself."""
        return httpx.Client(base_url=self.url, timeout=30, **options)

    @contextmanager
    def logged_in(self, role: Role) -> Iterator[httpx.Client]:
        """Give a client in which somebody of a role has logged in."""
        with self.client() as client:
            answer = log_in(client, role.word, PASSWORDS[role])
            assert answer.status_code == 303, answer.text
            yield client


def token_in(page: str) -> str:
    """Return the token that the forms of a page carry."""
    found = _TOKEN.search(page)
    assert found, "the page has no form"
    return found[1]


def log_in(client: httpx.Client, name: str, password: str, **fields: str) -> httpx.Response:
    """Fill in the login."""
    token = token_in(client.get("/login").text)
    return client.post(
        "/login", data={"form_token": token, "name": name, "password": password, **fields}
    )


@contextmanager
def serving(
    folder: Path, database: str, *, web: dict[str, Any] | None = None, **site: Any
) -> Iterator[Served]:
    """Serve the page of a site with one channel; nothing else of the site runs.

    Args:
        web: keys of the section ``web``.
        site: keys of the root file.
    """
    wanted = {"port": free_port(), **(web or {})}
    write_site(folder, database=database, port=free_port(), web=wanted, **site)
    app = open_app(load_configuration(folder))
    (folder / "files").mkdir(exist_ok=True)
    page = WebPage(app)
    page.start()
    try:
        yield Served(folder, app, page, "https" if "tls" in wanted else "http")
    finally:
        page.stop()
        app.close()


def write_people(file: Path) -> Path:
    """Write a file with one person of each role, named as the role."""
    write_users(file, dict(_people()))
    return file


@cache  # a password's hash is made to take long
def _people() -> Mapping[str, User]:
    return {role.word: new_user(role.word, role, PASSWORDS[role]) for role in Role}


def give_token(
    served: Served, name: str, role: Role, *, ends: datetime | None = None
) -> dict[str, str]:
    """Give out a token and return the header that brings it."""
    token = new_token()
    with served.page.site.database.write() as connection:
        assert add_token(
            connection,
            name,
            role=role.word,
            sha256=hash_of(token),
            expires_at=ends,
            by="tests",
            now=served.page.site.clock.now(),
        )
    return {"authorization": f"Bearer {token}"}
