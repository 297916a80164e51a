"""What makes a web page unsafe: beyond this machine it needs to know people, and TLS."""

from __future__ import annotations

from collections.abc import Iterator

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import Site
from intu_fhir.settings.web import Web
from intu_fhir.settings.yaml_lines import Document

MIN_SECRET = 32


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
    if web.oidc.issuer.startswith("http://") and not _is_local(web.oidc.issuer):
        yield document.mistake(
            "tokens would go over the wire in the clear; write https://", "web", "oidc", "issuer"
        )


def _is_local(url: str) -> bool:
    host = url.removeprefix("http://").partition("/")[0].rpartition(":")[0]
    return host in {"127.0.0.1", "localhost", "[::1]"}
