"""The section ``web``: where the web page listens, and who may come in."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveInt

from intu_fhir.settings.base import Network, Port, Seconds, ServerTls, Settings
from intu_fhir.settings.dicomweb import DicomWeb

RoleName: TypeAlias = Literal["viewer", "operator", "administrator"]
HeaderName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
HostName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$|^\[[0-9a-fA-F:]+\]$")]


class RoleClaims(Settings):
    """Which groups of an identity provider have which role; the highest that fits counts."""

    viewer: tuple[str, ...] = ()
    """Groups that may look."""
    operator: tuple[str, ...] = ()
    """Groups that may look and act."""
    administrator: tuple[str, ...] = ()
    """Groups that may do everything."""
    default: RoleName | None = None
    """Role of who is in none of them; absent = nobody else comes in."""


class Oidc(Settings):
    """Log in with OpenID Connect: authorization code with PKCE (RFC 7636)."""

    issuer: Annotated[str, Field(pattern=r"^https?://[^\s?#]+[^\s?#/]$")]
    """Issuer, without a slash at its end; its `/.well-known/openid-configuration` is read."""
    client_id: str
    """Our id there."""
    client_secret: str = Field(repr=False)
    """Our secret there; write `${env:NAME}` or `${file:path}`."""
    redirect_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+/login/oidc/return$")]
    """Where people come back to, as registered there: our address and `/login/oidc/return`."""
    scope: str = "openid profile"
    """Scope to ask for."""
    name_claim: str = "preferred_username"
    """Claim that names the person."""
    groups_claim: str = "groups"
    """Claim that lists the person's groups."""
    roles: RoleClaims = RoleClaims()
    """Which groups have which role."""
    ca_file: Path | None = None
    """Authorities to trust, PEM; absent = the system's."""
    timeout_seconds: Seconds = 10.0
    """Limit for one exchange, in seconds."""


class TrustedProxy(Settings):
    """A reverse proxy in front that ends TLS and, where it names a header, knows who comes."""

    addresses: Annotated[tuple[Network, ...], Field(min_length=1)]
    """Addresses or networks of the proxy; requests from elsewhere are refused."""
    ends_tls: bool = False
    """True = people reach the proxy by HTTPS alone, so that we may listen without TLS."""
    user_header: HeaderName | None = None
    """Header in which the proxy names who has logged in; absent = we ask for a login."""
    groups_header: HeaderName = "X-Forwarded-Groups"
    """Header in which it lists their groups, separated by commas."""
    roles: RoleClaims = RoleClaims()
    """Which groups have which role."""


class WebSql(Settings):
    """SQL on the web page."""

    role: RoleName = "operator"
    """Least role that may ask questions of its own."""
    database: str | None = Field(default=None, repr=False)
    """On PostgreSQL: the URL of the staging database as a role that can only read, as
    `deploy/postgresql/reader-role.sql` makes it; write its password as `${file:path}`. Absent = on
    PostgreSQL nobody asks SQL by the web page or the API.
    """
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """When the database ends a statement, in seconds."""
    max_rows: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Most rows that are shown."""
    max_download_rows: Annotated[int, Field(ge=1, le=5_000_000)] = 100_000
    """Most rows of a download."""


class Web(Settings):
    """The web page; on loopback it needs no login, beyond it login and TLS."""

    enabled: bool = True
    """False = `serve` has no web page."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8104
    """Port to listen on."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Names under which people reach it, beside the address itself and localhost."""
    tls: ServerTls | None = None
    """Present = HTTPS only."""
    users_file: Path | None = None
    """People who may log in, as `intu-fhir users add` writes them."""
    oidc: Oidc | None = None
    """Log in with OpenID Connect."""
    trusted_proxy: TrustedProxy | None = None
    """A reverse proxy in front."""
    session_secret: str | None = Field(default=None, repr=False)
    """What signs sessions, 32 characters or more; write `${env:NAME}` or `${file:path}`.
    Absent = made anew at every start, so that a restart ends all sessions.
    """
    session_seconds: PositiveInt = 36_000
    """A session ends so long after its login."""
    idle_seconds: PositiveInt = 3_600
    """A session ends when nothing was asked for so long."""
    public_metrics: bool = False
    """True = `/metrics` needs no login."""
    sql: WebSql = WebSql()
    """SQL on the web page."""
    dicomweb: DicomWeb = DicomWeb()
    """Search and retrieve by DICOMweb."""
    max_connections: Annotated[int, Field(ge=4, le=10_000)] = 200
    """Connections open at the same time; more are closed at once."""
    max_connections_per_address: Annotated[int, Field(ge=2, le=10_000)] = 50
    """The same for one address."""
    max_body_bytes: Annotated[int, Field(ge=10_000, le=100_000_000)] = 1_000_000
    """Longest request body."""
    request_seconds: Seconds = 20.0
    """A request has to be here, whole, this long after its connection or the answer before."""

    @property
    def is_loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def images_url(self) -> str | None:
        """Return where others get images from us, if they can."""
        return self.dicomweb.url if self.enabled and self.dicomweb.enabled else None

    @property
    def names_people(self) -> bool:
        """Say whether anything tells who somebody is."""
        proxy = self.trusted_proxy
        named = proxy is not None and proxy.user_header is not None
        return named or self.users_file is not None or self.oidc is not None
