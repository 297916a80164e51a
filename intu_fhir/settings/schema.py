"""What may stand in ``intu.yaml`` and ``channel.yaml``; the names are the keys of the files."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _ae_title(value: str) -> str:
    title = value.strip(" ")
    if not 1 <= len(title) <= 16 or not all(" " <= c <= "~" and c != "\\" for c in title):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters without backslash")
    return title


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not an IANA time zone; write for example Europe/Berlin") from None
    return value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError(
            "not an IP address or network; write for example 10.1.0.0/16, with no bit set behind "
            "the prefix"
        ) from None


AeTitle: TypeAlias = Annotated[str, AfterValidator(_ae_title)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
TimeZone: TypeAlias = Annotated[str, AfterValidator(_zone)]
Network: TypeAlias = Annotated[str, AfterValidator(_network)]


class ServerTls(Settings):
    """TLS of a listener; a ``ca_file`` makes client certificates required."""

    cert_file: Path
    """Our certificate, PEM."""
    key_file: Path
    """Its private key, PEM."""
    ca_file: Path | None = None
    """Authorities whose certificates senders must show; absent = none is asked for."""


class ClientTls(Settings):
    """TLS towards a destination; without ``ca_file`` the system's authorities count."""

    ca_file: Path | None = None
    """Authorities to trust, PEM; absent = the system's."""
    cert_file: Path | None = None
    """Certificate that we show, PEM."""
    key_file: Path | None = None
    """Its private key, PEM."""


class User(Settings):
    """Who may associate by user identity negotiation (PS3.7 D.3.3.7)."""

    name: Annotated[str, Field(min_length=1)]
    """User name."""
    passcode: str | None = Field(default=None, repr=False)
    """Passcode; write `${env:NAME}` or `${file:path}`. Absent = the name is enough."""


class DicomSource(Settings):
    """Where a channel listens."""

    type: Literal["dicom"]
    """Kind of source."""
    port: Port
    """Port to listen on."""
    host: str = "0.0.0.0"  # noqa: S104  (modalities come over the network)
    """Address to listen on."""
    ae_title: AeTitle = "INTU_SCP"
    """AE title that senders have to call."""
    calling_ae_titles: tuple[AeTitle, ...] | None = None
    """AE titles that may send; absent = all."""
    allowed_addresses: tuple[Network, ...] | None = None
    """Addresses and networks that may connect, such as 10.1.0.0/16; absent = all."""
    users: tuple[User, ...] | None = Field(default=None, repr=False)
    """Who has to be named in the association request; absent = nobody has to be."""
    tls: ServerTls | None = None
    """Present = TLS only."""
    private_sop_classes: tuple[str, ...] = ()
    """SOP Class UIDs to take beside the standard's storage classes."""


class Settle(Settings):
    """When a study counts as complete for now, and by which evidence."""

    quiet_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """A study is complete when nothing new came for so long."""
    on_release: bool = False
    """Complete as soon as no association that brought it is open."""
    on_expected_count: bool = False
    """Complete as soon as as many instances are there as a header announces."""


class Channel(Settings):
    """One ``channel.yaml``."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of the channel, unique in the site."""
    enabled: bool = True
    """False = it does not listen."""
    group: str = ""
    """Label for lists, without effect."""
    source: DicomSource
    """Where it listens."""
    transformer: Path | None = None
    """Python hook `def transform(message)` that may change or drop a resource."""
    mapping: Path | None = None
    """Mapping to use instead of the shipped one."""
    settle: Settle = Settle()
    """When a study is complete."""
    destinations: tuple[str, ...] = ()
    """Names from `intu.yaml`; empty = only stage."""


class NoAuth(Settings):
    """No authorization."""

    type: Literal["none"] = "none"
    """Kind of authorization."""


class BasicAuth(Settings):
    """HTTP basic authorization."""

    type: Literal["basic"]
    """Kind of authorization."""
    username: str
    """User name."""
    password: str = Field(repr=False)
    """Password; write `${env:NAME}` or `${file:path}`."""


class BearerAuth(Settings):
    """A fixed bearer token."""

    type: Literal["bearer"]
    """Kind of authorization."""
    token: str = Field(repr=False)
    """The token; write `${env:NAME}` or `${file:path}`."""


class OAuth2Auth(Settings):
    """OAuth 2 client credentials with a shared secret."""

    type: Literal["oauth2"]
    """Kind of authorization."""
    token_url: str
    """Where tokens are had."""
    client_id: str
    """Our id there."""
    client_secret: str = Field(repr=False)
    """Our secret there; write `${env:NAME}` or `${file:path}`."""
    scope: str = ""
    """Scope to ask for."""


class SmartBackendAuth(Settings):
    """SMART Backend Services: a signed assertion instead of a secret."""

    type: Literal["smart_backend"]
    """Kind of authorization."""
    client_id: str
    """Our id at the authorization server."""
    private_key_file: Path
    """Private key that signs the assertion, PEM."""
    kid: str
    """Id of that key in our published key set."""
    token_url: str | None = None
    """Where tokens are had; absent = as the server's SMART configuration says."""
    algorithm: Literal["RS384", "ES384"] = "RS384"
    """How the assertion is signed."""
    scope: str = "system/ImagingStudy.crus system/Patient.rs"
    """Scope to ask for."""


Auth: TypeAlias = Annotated[
    NoAuth | BasicAuth | BearerAuth | OAuth2Auth | SmartBackendAuth, Field(discriminator="type")
]


class Subject(Settings):
    """How the patient of a study is referred to at a FHIR destination."""

    strategy: Literal["search", "logical", "create", "conditional"] = "search"
    """`search` for it by identifier, `logical` reference by identifier alone, `create` it where
    absent, `conditional` reference that the server resolves.
    """


class Destination(Settings):
    """What every destination has."""

    concurrency: PositiveInt = 1
    """Studies sent at the same time."""
    timeout_seconds: PositiveFloat = 60.0
    """Limit for one exchange, in seconds."""


class FhirDestination(Destination):
    """A FHIR server that takes ImagingStudy resources."""

    type: Literal["fhir"]
    """Kind of destination."""
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]
    """Base of the FHIR server, without query."""
    release: Literal["r4", "r5"] = "r4"
    """FHIR release to speak."""
    auth: Auth = NoAuth()
    """How to authorize."""
    subject: Subject = Subject()
    """How the patient is referred to."""
    tls: ClientTls | None = None
    """Authorities and client certificate."""
    max_body_bytes: PositiveInt = 1_000_000
    """A larger resource is not sent."""
    max_instances: PositiveInt = 5_000
    """A study with more instances is not sent."""


class DicomDestination(Destination):
    """A PACS that takes images by C-STORE."""

    type: Literal["dicom"]
    """Kind of destination."""
    host: str
    """Where the PACS is."""
    port: Port
    """Its port."""
    ae_title: AeTitle = "INTU_SCU"
    """AE title that we call ourselves."""
    called_ae_title: AeTitle
    """AE title of the PACS."""
    tls: ClientTls | None = None
    """Present = TLS."""
    max_associations: PositiveInt = 1
    """Associations open at the same time."""


AnyDestination: TypeAlias = Annotated[
    FhirDestination | DicomDestination, Field(discriminator="type")
]


class CommitmentRequester(Settings):
    """Where a requester of storage commitment takes results (PS3.4 J.3.3)."""

    host: str
    """Its address."""
    port: Port
    """Its port."""
    tls: ClientTls | None = None
    """Present = TLS."""


class StorageCommitment(Settings):
    """Storage commitment push model as SCP (PS3.4 annex J)."""

    enabled: bool = True
    """False = it is not offered."""
    requesters: dict[AeTitle, CommitmentRequester] = Field(default_factory=dict)
    """By AE title, where results are sent to on an association of our own. Others are told on
    an association that they have opened themselves.
    """
    max_instances: PositiveInt = 20_000
    """Most instances of one request."""
    max_waiting: PositiveInt = 10_000
    """Most requests whose results are not reported yet."""
    timeout_seconds: PositiveFloat = 30.0
    """Limit for telling one result, in seconds."""


class Receiver(Settings):
    """Limits of the receive path; all times on the monotonic clock."""

    max_associations: PositiveInt = 100
    """Associations open at the same time, all channels together."""
    max_associations_per_address: PositiveInt = 50
    """The same for one sender's address."""
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1_048_576)] = 131_072
    """Longest PDU that is taken (PS3.8 9.3)."""
    max_object_bytes: PositiveInt = 4 * 1024**3
    """Largest data set that is taken."""
    max_command_bytes: PositiveInt = 16_384
    """Largest command set that is taken."""
    max_inflated_bytes: PositiveInt = 64 * 1024**2
    """Most that a deflated header may inflate to."""
    max_nesting: Annotated[int, Field(ge=1, le=256)] = 64
    """Deepest nesting of sequences that is read."""
    max_elements: Annotated[int, Field(ge=1_000)] = 5_000_000
    """Most elements, items and fragments of one data set."""
    max_contexts: Annotated[int, Field(ge=1, le=128)] = 128
    """Most presentation contexts that one association may propose."""
    idle_seconds: PositiveFloat = 300.0
    """An association without any message ends after this."""
    pdu_seconds: PositiveFloat = 30.0
    """A PDU that has begun must be complete within this."""
    handshake_seconds: PositiveFloat = 10.0
    """TLS handshake and A-ASSOCIATE-RQ must be complete within this."""
    association_seconds: PositiveFloat = 86_400.0
    """Longest life of an association."""
    shutdown_grace_seconds: PositiveFloat = 20.0
    """How long objects in hand may take when the program is stopped."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 1024**3
    """Below this much free space objects are answered A700."""
    storage_commitment: StorageCommitment = StorageCommitment()
    """Promises to keep instances."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Receiving processes on each port; more than one only where cores are free."""


class RetrySettings(Settings):
    """How failed work is tried again: exponential backoff with jitter, then dead letter."""

    first_seconds: PositiveFloat = 5.0
    """Wait before the second try; doubles from then on."""
    max_seconds: PositiveFloat = 3_600.0
    """Longest wait."""
    max_attempts: PositiveInt = 20
    """After so many tries it is a dead letter."""


class IdentifierSystem(Settings):
    """Which ``Identifier.system`` a value gets; the first rule that matches wins."""

    by_issuer: dict[str, str] = Field(default_factory=dict)
    """Issuer → system."""
    by_calling_ae_title: dict[str, str] = Field(default_factory=dict)
    """Sender → system."""
    default: str | None = None
    """System where nothing above matches; absent = none."""


class Identifiers(Settings):
    """Identifier systems of the site."""

    patient: IdentifierSystem = IdentifierSystem()
    """Systems of Patient IDs."""
    accession: IdentifierSystem = IdentifierSystem()
    """Systems of Accession Numbers."""


class Site(Settings):
    """``intu.yaml``."""

    database: str = "sqlite:///data/staging.db"
    """SQLAlchemy URL of the staging database, `sqlite:///path` or
    `postgresql+psycopg://user@host/name`.
    """
    files: Path = Path("data/files")
    """Folder of the file store."""
    time_zone: TimeZone | None = None
    """IANA zone of times whose header names none, such as Europe/Berlin."""
    identifiers: Identifiers = Identifiers()
    """Identifier systems of the site."""
    destinations: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")], AnyDestination
    ] = Field(default_factory=dict)
    """Destinations by name."""
    receiver: Receiver = Receiver()
    """Limits of the receiver."""
    retry: RetrySettings = RetrySettings()
    """How failed work is tried again."""
    lease_seconds: PositiveFloat = 60.0
    """Work of a worker that died is free again after this."""


class Configuration(Settings):
    """The whole configuration of a site, paths made absolute.

    Args:
        folder: the folder that holds ``intu.yaml``.
        channels: every enabled and disabled channel, ordered by id.
    """

    folder: Path
    site: Site
    channels: tuple[Channel, ...] = ()

    def enabled_channels(self) -> tuple[Channel, ...]:
        """Return the channels that listen."""
        return tuple(channel for channel in self.channels if channel.enabled)

    def channel(self, channel_id: str) -> Channel | None:
        """Return the channel with this id, if there is one."""
        return next((c for c in self.channels if c.id == channel_id), None)
