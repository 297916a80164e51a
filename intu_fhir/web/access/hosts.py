"""By which names we may be called: a page elsewhere must not reach us under its own name."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from intu_fhir.settings.web import Web

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def host_name(netloc: str) -> str:
    """Return the name of ``name:port`` in small letters, without brackets; empty = not one."""
    try:
        parts = urlsplit(f"//{netloc}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.username or parts.path or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").rstrip(".")


def is_our_name(netloc: str, web: Web) -> bool:
    """Say whether a Host header names us.

    An address always does, where we listen beyond loopback: rebinding needs a name.
    """
    name = host_name(netloc)
    if not name:
        return False
    if name in _LOCAL or name in _configured(web):
        return True
    if web.is_loopback:
        return False
    return _is_address(name) or name in {socket.gethostname().lower(), socket.getfqdn().lower()}


def _configured(web: Web) -> set[str]:
    return {name.strip("[]").lower() for name in (web.host, *web.allowed_hosts)}


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(origin: str, host: str, web: Web) -> bool:
    """Say whether a page of this origin is one of ours.

    A proxy may have put another name into Host, so the configured names count too.
    """
    scheme, _, netloc = origin.partition("://")
    if scheme not in {"http", "https"} or not netloc:
        return False
    if netloc.lower() == host.lower():
        return True
    return host_name(netloc) in {name.strip("[]").lower() for name in web.allowed_hosts}
