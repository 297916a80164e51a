"""What may stand in ``intu.yaml`` and ``channel.yaml``; the names are the keys of the files."""

from __future__ import annotations

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


AeTitle: TypeAlias = Annotated[str, AfterValidator(_ae_title)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
TimeZone: TypeAlias = Annotated[str, AfterValidator(_zone)]


class ServerTls(Settings):
    """TLS of a listener; a ``ca_file`` makes client certificates required."""

    cert_file: Path
    key_file: Path
    ca_file: Path | None = None


class ClientTls(Settings):
    """TLS towards a destination; without ``ca_file`` the system's authorities count."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class DicomSource(Settings):
    """Where a channel listens."""

    type: Literal["dicom"]
    port: Port
    host: str = "0.0.0.0"  # noqa: S104  (modalities come over the network)
    ae_title: AeTitle = "INTU_SCP"
    calling_ae_titles: tuple[AeTitle, ...] | None = None
    tls: ServerTls | None = None
    private_sop_classes: tuple[str, ...] = ()


class Settle(Settings):
    """When a study counts as complete for now, and by which evidence."""

    quiet_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    on_release: bool = False
    on_expected_count: bool = False


class Channel(Settings):
    """One ``channel.yaml``."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    enabled: bool = True
    group: str = ""
    source: DicomSource
    transformer: Path | None = None
    mapping: Path | None = None
    settle: Settle = Settle()
    destinations: tuple[str, ...] = ()


class NoAuth(Settings):
    """No authorization."""

    type: Literal["none"] = "none"


class BasicAuth(Settings):
    """HTTP basic authorization."""

    type: Literal["basic"]
    username: str
    password: str = Field(repr=False)


class BearerAuth(Settings):
    """A fixed bearer token."""

    type: Literal["bearer"]
    token: str = Field(repr=False)


class OAuth2Auth(Settings):
    """OAuth 2 client credentials with a shared secret."""

    type: Literal["oauth2"]
    token_url: str
    client_id: str
    client_secret: str = Field(repr=False)
    scope: str = ""


class SmartBackendAuth(Settings):
    """SMART Backend Services: a signed assertion instead of a secret."""

    type: Literal["smart_backend"]
    client_id: str
    private_key_file: Path
    kid: str
    token_url: str | None = None
    algorithm: Literal["RS384", "ES384"] = "RS384"
    scope: str = "system/ImagingStudy.crus system/Patient.rs"


Auth: TypeAlias = Annotated[
    NoAuth | BasicAuth | BearerAuth | OAuth2Auth | SmartBackendAuth, Field(discriminator="type")
]


class Subject(Settings):
    """How the patient of a study is referred to at a FHIR destination."""

    strategy: Literal["search", "logical", "create", "conditional"] = "search"


class Destination(Settings):
    """What every destination has."""

    concurrency: PositiveInt = 1
    timeout_seconds: PositiveFloat = 60.0


class FhirDestination(Destination):
    """A FHIR server that takes ImagingStudy resources."""

    type: Literal["fhir"]
    base_url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]
    release: Literal["r4", "r5"] = "r4"
    auth: Auth = NoAuth()
    subject: Subject = Subject()
    tls: ClientTls | None = None
    max_body_bytes: PositiveInt = 1_000_000
    max_instances: PositiveInt = 5_000


class DicomDestination(Destination):
    """A PACS that takes images by C-STORE."""

    type: Literal["dicom"]
    host: str
    port: Port
    ae_title: AeTitle = "INTU_SCU"
    called_ae_title: AeTitle
    tls: ClientTls | None = None
    max_associations: PositiveInt = 1


AnyDestination: TypeAlias = Annotated[
    FhirDestination | DicomDestination, Field(discriminator="type")
]


class Receiver(Settings):
    """Limits of the receive path; all times on the monotonic clock."""

    max_associations: PositiveInt = 100
    max_associations_per_address: PositiveInt = 50
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1_048_576)] = 131_072
    max_object_bytes: PositiveInt = 4 * 1024**3
    max_command_bytes: PositiveInt = 16_384
    max_inflated_bytes: PositiveInt = 64 * 1024**2
    max_nesting: Annotated[int, Field(ge=1, le=256)] = 64
    idle_seconds: PositiveFloat = 300.0
    pdu_seconds: PositiveFloat = 30.0
    handshake_seconds: PositiveFloat = 10.0
    association_seconds: PositiveFloat = 86_400.0
    shutdown_grace_seconds: PositiveFloat = 20.0
    min_free_bytes: Annotated[int, Field(ge=0)] = 1024**3


class RetrySettings(Settings):
    """How failed work is tried again: exponential backoff with jitter, then dead letter."""

    first_seconds: PositiveFloat = 5.0
    max_seconds: PositiveFloat = 3_600.0
    max_attempts: PositiveInt = 20


class IdentifierSystem(Settings):
    """Which ``Identifier.system`` a value gets; the first rule that matches wins."""

    by_issuer: dict[str, str] = Field(default_factory=dict)
    by_calling_ae_title: dict[str, str] = Field(default_factory=dict)
    default: str | None = None


class Identifiers(Settings):
    """Identifier systems of the site."""

    patient: IdentifierSystem = IdentifierSystem()
    accession: IdentifierSystem = IdentifierSystem()


class Site(Settings):
    """``intu.yaml``."""

    database: str = "sqlite:///data/staging.db"
    files: Path = Path("data/files")
    time_zone: TimeZone | None = None
    identifiers: Identifiers = Identifiers()
    destinations: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")], AnyDestination
    ] = Field(default_factory=dict)
    receiver: Receiver = Receiver()
    retry: RetrySettings = RetrySettings()
    lease_seconds: PositiveFloat = 60.0


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
