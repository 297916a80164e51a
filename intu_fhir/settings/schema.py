"""What may stand in ``intu.yaml`` and ``channel.yaml``; the names are the keys of the files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt

from intu_fhir.model.companion import DOCUMENT, KINDS
from intu_fhir.settings.base import AeTitle as AeTitle
from intu_fhir.settings.base import ClientTls as ClientTls
from intu_fhir.settings.base import Network, Port, Seconds, TimeZone, Token
from intu_fhir.settings.base import ServerTls as ServerTls
from intu_fhir.settings.base import Settings as Settings
from intu_fhir.settings.commitment import Commitment as Commitment
from intu_fhir.settings.edits import Edits
from intu_fhir.settings.object_store import FilesPlace
from intu_fhir.settings.object_store import ObjectStore as ObjectStore
from intu_fhir.settings.receiver import CommitmentRequester as CommitmentRequester
from intu_fhir.settings.receiver import Receiver as Receiver
from intu_fhir.settings.receiver import StorageCommitment as StorageCommitment
from intu_fhir.settings.retention import Retention as Retention
from intu_fhir.settings.routes import Only
from intu_fhir.settings.tracing import TracingSettings as TracingSettings
from intu_fhir.settings.web import Web as Web


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
    token: Token = Field(repr=False)
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
    """Private key that signs the assertion, in PEM or as JSON Web Key or set of such; a file that
    is replaced counts from the next token on."""
    kid: str = ""
    """Id of that key in our published key set; a JSON Web Key may name its own."""
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


class BreakerSettings(Settings):
    """When a destination counts as down, and how often it is probed then."""

    failures: PositiveInt = 5
    """So many deliveries in a row that did not reach it; then nothing goes out but probes."""
    first_seconds: Seconds = 5.0
    """Wait before the first probe; doubles from then on, and half of it is chance."""
    max_seconds: Seconds = 300.0
    """Longest wait between probes."""


class Destination(Settings):
    """What every destination has."""

    timeout_seconds: Seconds = 60.0
    """Limit for one exchange, in seconds."""
    only: Only | None = None
    """Which studies it gets; absent = all of its channels."""
    after: tuple[str, ...] = ()
    """Destinations that have to have a study before this one gets it."""
    max_per_minute: PositiveFloat | None = None
    """Studies that may be begun within a minute, over all workers; absent = no limit."""
    breaker: BreakerSettings = BreakerSettings()
    """When it counts as down, so that it is left in peace and no attempt is lost on it."""

    @property
    def limit(self) -> int:
        """How many studies may be on their way to it at the same time, over all workers."""
        return 1


class Publish(Settings):
    """What a FHIR destination gets beside the ImagingStudy."""

    endpoint: bool = False
    """An Endpoint that says where images can be had; needs `wado_rs`, or `web.dicomweb.url`."""
    wado_rs: Annotated[str, Field(pattern=r"^https?://[^\s?#@]*[^\s?#@/]$")] | None = None
    """Base of the DICOMweb service from which the server's users get images, without `/studies`
    and without a slash at its end; absent = our own, `web.dicomweb.url`."""
    device: bool = False
    """A Device for each piece of equipment that names its serial number or Device UID."""
    provenance: bool = False
    """A Provenance for each version: from which instances, by which mapping and program."""
    dose: bool = False
    """An Observation for each radiation dose report."""
    measurements: bool = False
    """Observations of measurement reports (PS3.16 TID 1500)."""

    document_reference: Literal["never", "fallback", "instead"] = "never"
    """Whether the study goes as a DocumentReference: `fallback` where the server's
    CapabilityStatement offers no ImagingStudy, `instead` even where it does."""

    @property
    def kinds(self) -> frozenset[str]:
        """What is asked for beside the study, by name."""
        return frozenset(kind for kind in KINDS if getattr(self, kind))

    @property
    def built(self) -> frozenset[str]:
        """What has to be built beside the ImagingStudy, by name."""
        never = self.document_reference == "never"
        return self.kinds if never else self.kinds | {DOCUMENT}


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
    publish: Publish = Publish()
    """What is sent beside the ImagingStudy."""
    announce: bool = False
    """True = a new study is published as `registered`, without series, while the destinations in
    `after` do not have it yet."""
    tls: ClientTls | None = None
    """Authorities and client certificate."""
    max_body_bytes: PositiveInt = 1_000_000
    """Above this size instances are counted but not listed; what is larger even so is not sent."""
    max_instances: PositiveInt = 5_000
    """Above this many, instances are counted but not listed."""
    concurrency: PositiveInt = 1
    """Studies published at the same time, over all workers."""

    @property
    def limit(self) -> int:
        """How many studies may be on their way to it at the same time, over all workers."""
        return self.concurrency


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
    """Associations open at the same time, over all workers, one for each study on its way."""
    idle_seconds: Annotated[float, Field(ge=0, le=60)] = 0.0
    """How long an association that has nothing to do stays open for the next study; 0 = each study
    has one of its own, and there are never more than `max_associations`.
    """
    edits: Edits = Edits()
    """What is changed in headers on the way there."""
    commitment: Commitment | None = None
    """Present = once it has the images it is asked to promise to keep them; `{}` is enough."""
    transcode: Literal["never", "uncompressed"] = "never"
    """What happens to an image whose transfer syntax the PACS refuses: `never` converted, it is a
    dead letter; `uncompressed` = sent in Explicit or Implicit VR Little Endian, where the PACS
    takes one of them; compressed ones need `pip install '.[transcode]'` in the checkout.
    """

    @property
    def limit(self) -> int:
        """How many studies may be on their way to it at the same time, over all workers."""
        return self.max_associations


AnyDestination: TypeAlias = Annotated[
    FhirDestination | DicomDestination, Field(discriminator="type")
]


class RetrySettings(Settings):
    """How failed work is tried again: exponential backoff with jitter, then dead letter."""

    first_seconds: Seconds = 5.0
    """Wait before the second try; doubles from then on."""
    max_seconds: Seconds = 3_600.0
    """Longest wait."""
    max_attempts: PositiveInt = 20
    """After so many tries it is a dead letter."""


class IdentifierSystem(Settings):
    """Which ``Identifier.system`` a value gets; the first rule that matches wins."""

    by_issuer: dict[str, str] = Field(default_factory=dict)
    """Issuer → system."""
    by_calling_ae_title: dict[str, str] = Field(default_factory=dict)
    """Sender → system."""
    by_institution: dict[str, str] = Field(default_factory=dict)
    """Institution Name (0008,0080) → system."""
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
    files: FilesPlace = Path("data/files")
    """Folder of the file store, or `s3://bucket/prefix`."""
    object_store: ObjectStore = ObjectStore()
    """How the object store is reached, where `files` names one."""
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
    retention: Retention = Retention()
    """How long image files are kept."""
    retry: RetrySettings = RetrySettings()
    """How failed work is tried again."""
    lease_seconds: Seconds = 60.0
    """Work of a worker that died is free again after this."""
    tracing: TracingSettings = TracingSettings()
    """Where traces of the work go."""
    web: Web = Web()
    """The web page."""

    @property
    def files_folder(self) -> Path:
        """The folder of this machine that objects are written to first."""
        return self.files if isinstance(self.files, Path) else self.object_store.spool


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
