"""What makes a web page unsafe: beyond this machine it needs to know people, and TLS."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import Site
from intu_fhir.settings.web import Web
from intu_fhir.settings.yaml_lines import Document

MIN_SECRET = 32
PAGES = frozenset(
    {"api", "audit", "destinations", "failures", "grid", "healthz", "holds", "login", "logout"}
    | {"metrics", "quarantine", "readyz", "replay", "replays", "review", "sql", "static", "studies"}
)
"""What the page has at its own addresses, as their first parts."""


def web_mistakes(site: Site, document: Document) -> Iterator[ConfigurationError]:
    """Yield what stands against starting the web page as it is configured."""
    web = site.web
    if not web.enabled:
        return
    if not web.is_loopback:
        yield from _beyond_loopback(web, document)
    elif web.allowed_hosts and not web.names_people:
        yield document.mistake(
            "a name for others to come by, and nobody would have to log in; add users_file, oidc "
            "or trusted_proxy with user_header, or remove it",
            "web",
            "allowed_hosts",
        )
    proxy = web.trusted_proxy
    if proxy is not None and web.tls is None and not proxy.ends_tls and not web.is_loopback:
        yield document.mistake(
            "say ends_tls: true where people reach the proxy by HTTPS alone, or add tls",
            "web",
            "trusted_proxy",
            "ends_tls",
        )
    if web.session_secret is not None and len(web.session_secret) < MIN_SECRET:
        yield document.mistake(
            f"is shorter than {MIN_SECRET} characters, so it can be guessed; take for example "
            "what `openssl rand -base64 48` prints",
            "web",
            "session_secret",
        )
    if web.oidc is not None:
        yield from _oidc(web, document)
    if web.dicomweb.enabled:
        yield from _dicomweb(web, document)
    if web.sql.database is not None:
        yield from _reader(site.database, web.sql.database, document)


def _reader(ours: str, reader: str, document: Document) -> Iterator[ConfigurationError]:
    """Judge the database that SQL of the page is asked of."""
    where = ("web", "sql", "database")
    if ours.startswith("sqlite:"):
        yield document.mistake("has no meaning on SQLite, which knows no roles; remove it", *where)
    elif not reader.startswith(("postgresql://", "postgresql+psycopg://")):
        text = "not a database we know; write postgresql+psycopg://reader@host/name"
        yield document.mistake(text, *where)
    elif _user(reader) == _user(ours):
        yield document.mistake(
            "is the role that the program itself has, which may do more than read; name one that "
            "deploy/postgresql/reader-role.sql has made",
            *where,
        )


def _user(url: str) -> str | None:
    try:
        return urlsplit(url).username
    except ValueError:
        return None


def _dicomweb(web: Web, document: Document) -> Iterator[ConfigurationError]:
    if web.dicomweb.path.split("/")[1].lower() in PAGES:
        yield document.mistake(
            "the page itself is there; name another path, such as /dicom-web",
            "web",
            "dicomweb",
            "path",
        )
    for number, origin in enumerate(web.dicomweb.allowed_origins):
        if not web.names_people and not is_local(origin):
            yield document.mistake(
                f"every page of {origin} could read every patient, since nobody has to log in "
                "here; add users_file, oidc or trusted_proxy with user_header, or remove it",
                "web",
                "dicomweb",
                "allowed_origins",
                number,
            )


def _beyond_loopback(web: Web, document: Document) -> Iterator[ConfigurationError]:
    if not web.names_people:
        yield document.mistake(
            f"{web.host} can be reached from other machines, and nobody would have to log in; "
            "add users_file, oidc or trusted_proxy with user_header, or listen on 127.0.0.1",
            "web",
            "host",
        )
    if web.tls is None and web.trusted_proxy is None:
        yield document.mistake(
            f"{web.host} can be reached from other machines, and passwords and patients would go "
            "over the wire in the clear; add tls, or trusted_proxy with ends_tls: true, or "
            "listen on 127.0.0.1",
            "web",
            "host",
        )


def _oidc(web: Web, document: Document) -> Iterator[ConfigurationError]:
    assert web.oidc is not None
    roles = web.oidc.roles
    if not (roles.viewer or roles.operator or roles.administrator or roles.default):
        yield document.mistake(
            "nobody would have a role; name groups, or a default", "web", "oidc", "roles"
        )
    if web.oidc.issuer.startswith("http://") and not is_local(web.oidc.issuer):
        yield document.mistake(
            "tokens would go over the wire in the clear; write https://", "web", "oidc", "issuer"
        )


def is_local(url: str) -> bool:
    """Say whether a URL leads to this machine alone."""
    try:
        return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
    except ValueError:
        return False
