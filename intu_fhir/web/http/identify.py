"""Who asks: by loopback, a proxy's header, a bearer token, or the cookie of a visit."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from starlette.requests import HTTPConnection

from intu_fhir.settings.web import TrustedProxy
from intu_fhir.web.access.roles import Person, Role, printable_name, role_of
from intu_fhir.web.access.tokens import bearer_of
from intu_fhir.web.access.visits import Visit
from intu_fhir.web.context import Site

LOCAL_NAME = "local"
"""Name of whoever sits at this machine, where nobody has to log in."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and the visit that the answer's forms belong to.

    Args:
        person: None where nobody has logged in.
        visit: None for a token, which has no forms.
        is_new: the visit has to be put into a cookie.
        wait: seconds until another token from that address is looked at.
    """

    person: Person | None
    visit: Visit | None
    is_new: bool
    wait: float = 0.0


def peer_address(connection: HTTPConnection) -> str:
    """Return the address that the connection comes from."""
    return connection.client.host if connection.client else ""


def comes_from_proxy(connection: HTTPConnection, proxy: TrustedProxy) -> bool:
    """Say whether a request comes from one of the proxy's addresses."""
    try:
        address = ip_address(peer_address(connection))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ip_network(network) for network in proxy.addresses)


def person_address(connection: HTTPConnection, site: Site) -> str:
    """Return the address of the person: what the proxy has added last, where one is trusted."""
    if site.web.trusted_proxy is None:
        return peer_address(connection)
    forwarded = connection.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded[:64] or peer_address(connection)


def identify(connection: HTTPConnection, site: Site) -> Asker:
    """Return who asks.

    A proxy that names people is the only one to ask; a request with a token is judged by it alone.
    """
    token = bearer_of(connection)
    if token is not None:
        judged = site.tokens.judge(token, person_address(connection, site))
        return Asker(judged.person, None, False, judged.wait)
    now = site.clock.now()
    visit = site.visits.open(connection.cookies.get(site.cookie, ""), now)
    is_new = visit is None
    if visit is None:
        visit = site.visits.begin(now)
    return Asker(_person(connection, site, visit), visit, is_new)


def _person(connection: HTTPConnection, site: Site, visit: Visit) -> Person | None:
    proxy = site.web.trusted_proxy
    if proxy is not None and proxy.user_header is not None:
        return _of_proxy(connection, proxy, visit)
    if not site.web.names_people:
        return Person(LOCAL_NAME, Role.ADMINISTRATOR, "loopback", visit.id)
    if visit.via == "password":
        return _of_password(site, visit)
    if visit.via == "oidc" and site.web.oidc is not None and visit.role is not None:
        return Person(visit.name, visit.role, "oidc", visit.id)
    return None


def _of_password(site: Site, visit: Visit) -> Person | None:
    """Look the person up again: who is removed, demoted or has a new password is so at once."""
    user = site.users.users().get(visit.name) if site.users else None
    if user is None or not site.visits.is_begun_with(visit, user.password_hash):
        return None
    return Person(user.name, user.role, "password", visit.id)


def _of_proxy(connection: HTTPConnection, proxy: TrustedProxy, visit: Visit) -> Person | None:
    names = connection.headers.getlist(proxy.user_header or "")
    if len(names) != 1:  # none, or one that somebody has put beside the proxy's
        return None
    name = printable_name(names[0])
    listed = connection.headers.getlist(proxy.groups_header)
    groups = {group.strip() for line in listed for group in line.split(",")}
    role = role_of(groups, proxy.roles)
    return Person(name, role, "proxy", visit.id) if name and role else None
