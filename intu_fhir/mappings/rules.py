"""What a rule of a mapping file may say: one class for each converter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from intu_fhir.mappings.elements import CONCEPTS, Release
from intu_fhir.settings.schema import Settings

ANY = frozenset({"*"})


def _listed(value: Any) -> Any:
    """Take one attribute for a list of one, and private ones in lower case, as they are staged."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        return values
    return [_plain(one) if isinstance(one, str) else one for one in values]


def _plain(attribute: str) -> str:
    digits, colon, creator = attribute.partition(":")
    return f"{digits.lower()}:{creator}" if colon else attribute


Sources: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""DICOM keywords; ``A.B`` is B inside every item of the sequence A."""

SystemName: TypeAlias = Annotated[str, Field(pattern=r"^(|accession|patient|(https?://|urn:)\S+)$")]
"""A URI, or the name of one of the site's ``identifiers``; empty = the default of the rule."""

DateAndTime: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]


class Rule(Settings):
    """How one element, or some of its repetitions, is filled."""

    makes: ClassVar[frozenset[str]] = ANY
    reads: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()

    converter: str
    """Name of the converter."""
    release: Release | None = None
    """Only in this release; absent = in both."""
    sop_classes: tuple[str, ...] = ()
    """Only for instances of these SOP classes; a UID that ends with `.` stands for all below."""

    def attributes(self) -> tuple[str, ...]:
        """Return what the rule reads: the attributes that its keys name, and those it knows."""
        named = [_names(getattr(self, field)) for field in self.reads]
        return (*(name for names in named for name in names if name), *self.uses)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(name for part in value for name in _names(part))


class Fixed(Rule):
    """The same value in every study."""

    converter: Literal["fixed"]
    value: Any
    """Any FHIR value."""


class _From(Rule):
    reads: ClassVar[tuple[str, ...]] = ("source",)
    source: Sources = Field(alias="from", min_length=1)
    """Attributes; the first that has a value counts."""


class Text(_From):
    """Text, trimmed and without control characters."""

    makes: ClassVar[frozenset[str]] = frozenset({"string", "code", "markdown", "uri"})
    converter: Literal["text"]
    max_length: Annotated[int, Field(ge=1, le=1_048_576)] = 1_024
    """Longest text in characters."""


class Number(_From):
    """A whole number from 0 to 2147483647; anything else is left out."""

    makes: ClassVar[frozenset[str]] = frozenset({"unsignedInt"})
    converter: Literal["number"]


class Time(Rule):
    """Date and time with its zone, or the date alone where a zone is not known."""

    makes: ClassVar[frozenset[str]] = frozenset({"dateTime"})
    reads: ClassVar[tuple[str, ...]] = ("source", "fallback")
    uses: ClassVar[tuple[str, ...]] = ("TimezoneOffsetFromUTC",)
    converter: Literal["time"]
    source: tuple[DateAndTime, ...] = Field(alias="from", min_length=1)
    """Pairs of a date and a time, or single date-times; the first that has a value counts."""
    fallback: tuple[DateAndTime, ...] = ()
    """The earliest of these, over all series and instances, where `from` has no value."""
    leap_second: Literal["keep", "lower"] = "keep"
    """`lower` writes second 60 as 59, for servers that refuse it."""
    unsure_zone: Literal["offset", "date"] = "offset"
    """Where the clock is changed: `offset` chooses the earlier reading, `date` drops the time."""
    partial_dates: bool = False
    """Keep dates of a year or a month alone."""


class Status(Rule):
    """`available`, or what rejection notes make of the study (IHE RAD IOCM)."""

    makes: ClassVar[frozenset[str]] = frozenset({"code"})
    converter: Literal["status"]


class Uid(Rule):
    """The UID of the study, series or instance itself."""

    makes: ClassVar[frozenset[str]] = frozenset({"id"})
    converter: Literal["uid"]


class StudyUid(Rule):
    """The Study Instance UID as an identifier."""

    makes: ClassVar[frozenset[str]] = frozenset({"Identifier"})
    converter: Literal["study_uid"]


class Identifier(_From):
    """An identifier with the system of its issuer; one for each distinct value."""

    makes: ClassVar[frozenset[str]] = frozenset({"Identifier"})
    reads: ClassVar[tuple[str, ...]] = ("source", "issuer")
    converter: Literal["identifier"]
    issuer: str = ""
    """Sequence that names the issuer (HL7v2 hierarchic designator macro)."""
    type: str = ""
    """Code of HL7 table 0203, such as ACSN."""
    system: SystemName = ""
    """`accession` or `patient` for the site's `identifiers`, or a URI."""


class Order(_From):
    """The orders behind the study, as references to a ServiceRequest by identifier."""

    makes: ClassVar[frozenset[str]] = frozenset({"Reference"})
    reads: ClassVar[tuple[str, ...]] = ("source", "issuer", "requests")
    converter: Literal["order"]
    issuer: str = "IssuerOfAccessionNumberSequence"
    """Sequence that names the issuer, beside each of the attributes."""
    requests: tuple[str, ...] = ()
    """Sequences whose items may hold the same attributes."""


class Patient(Rule):
    """The patient, as a reference by identifier."""

    makes: ClassVar[frozenset[str]] = frozenset({"Reference"})
    uses: ClassVar[tuple[str, ...]] = (
        "PatientID",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "PatientName",
    )
    converter: Literal["patient"]
    show_name: bool = True
    """Show the patient's name beside the identifier."""
    placeholders: tuple[str, ...] = ()
    """Patient IDs that identify nobody; one that ends with `*` stands for all that begin so."""
    unknown: Literal["hold", "publish"] = "hold"
    """What becomes of a study without usable Patient ID: held, or sent with a subject that is
    marked as unknown."""
    not_a_patient: Literal["hold", "publish"] = "hold"
    """What becomes of a study of a phantom or an animal: held, or sent as of a patient."""


class _Persons(_From):
    reads: ClassVar[tuple[str, ...]] = ("source", "identification")
    identification: str = ""
    """Sequence that identifies them, in the same order."""
    omit: tuple[str, ...] = ()
    """Names that are no names, such as UNKNOWN."""


class Person(_Persons):
    """Persons, as references to a Practitioner by name and, where known, identifier."""

    makes: ClassVar[frozenset[str]] = frozenset({"Reference"})
    converter: Literal["person"]


class Performer(_Persons):
    """Persons who made the series."""

    makes: ClassVar[frozenset[str]] = frozenset({"Performer"})
    converter: Literal["performer"]
    function: Literal["PRF", "SPRF", "CON", "VRF", "REF"] = "PRF"
    """What they did, of HL7 v3 ParticipationType."""


class ReferenceTo(_From):
    """A reference by identifier, or by name alone."""

    makes: ClassVar[frozenset[str]] = frozenset({"Reference"})
    reads: ClassVar[tuple[str, ...]] = ("source", "issuer")
    converter: Literal["reference"]
    resource: str
    """Type of the resource, such as Encounter."""
    by: Literal["identifier", "display"] = "display"
    """What refers to it."""
    issuer: str = ""
    """Sequence that names the issuer of the identifier."""
    system: SystemName = ""
    """System of the identifier where no issuer is named: a URI, or `accession` or `patient` for
    the site's `identifiers`."""
    type: str = ""
    """Code of HL7 table 0203, such as VN."""


class Codes(_From):
    """Coded terms of code sequences; each distinct one."""

    makes: ClassVar[frozenset[str]] = CONCEPTS
    reads: ClassVar[tuple[str, ...]] = ("source", "text")
    uses: ClassVar[tuple[str, ...]] = ("CodingSchemeIdentificationSequence",)
    converter: Literal["codes"]
    text: Sources = ()
    """Attributes that say it in words, where no code does."""


class Table(_From):
    """A value looked up in a table of your own."""

    makes: ClassVar[frozenset[str]] = CONCEPTS
    converter: Literal["table"]
    table: str
    """CSV file with the columns value, system, code, display."""
    otherwise: Literal["text", "omit"] = "text"
    """What becomes of a value that the table does not have."""


class Modality(Rule):
    """The modality of a series: its term, else what its SOP class says."""

    makes: ClassVar[frozenset[str]] = CONCEPTS
    uses: ClassVar[tuple[str, ...]] = ("Modality",)
    converter: Literal["modality"]
    unknown: Literal["UNK", "OT"] = "UNK"
    """Code where neither is known."""


class Modalities(Rule):
    """The distinct modalities of all series, as far as the release wants them."""

    makes: ClassVar[frozenset[str]] = CONCEPTS
    uses: ClassVar[tuple[str, ...]] = ("Modality",)
    converter: Literal["modalities"]
    sets: tuple[Literal["acquisition", "other", "retired"], ...] = ("acquisition",)
    """Which sets of `modalities.csv` may stand in the list."""


class BodySite(Rule):
    """The body part: Anatomic Region Sequence, of the image or its frames, else Body Part
    Examined by PS3.16 annex L.
    """

    makes: ClassVar[frozenset[str]] = CONCEPTS
    uses: ClassVar[tuple[str, ...]] = (
        "AnatomicRegionSequence",
        "FrameAnatomySequence",
        "BodyPartExamined",
    )
    converter: Literal["body_site"]


class Laterality(Rule):
    """Left, right or both."""

    makes: ClassVar[frozenset[str]] = CONCEPTS
    uses: ClassVar[tuple[str, ...]] = (
        "ImageLaterality",
        "FrameAnatomySequence",
        "Laterality",
        "BodyPartExamined",
    )
    converter: Literal["laterality"]
    mixed: Literal["bilateral", "omit"] = "bilateral"
    """What left and right in one series become."""


class Specimen(Rule):
    """Specimens, else their container, as references by identifier."""

    makes: ClassVar[frozenset[str]] = frozenset({"Reference"})
    uses: ClassVar[tuple[str, ...]] = (
        "SpecimenDescriptionSequence",
        "ContainerIdentifier",
        "IssuerOfTheContainerIdentifierSequence",
    )
    converter: Literal["specimen"]


class SopClass(Rule):
    """The SOP Class UID."""

    makes: ClassVar[frozenset[str]] = frozenset({"Coding"})
    converter: Literal["sop_class"]


class Count(Rule):
    """How many there are in staging; never what a header says."""

    makes: ClassVar[frozenset[str]] = frozenset({"unsignedInt"})
    converter: Literal["count"]
    of: Literal["series", "instances"]
    """What is counted."""


class Endpoint(Rule):
    """The site's image service, where one is configured."""

    makes: ClassVar[frozenset[str]] = frozenset({"Reference"})
    converter: Literal["endpoint"]


class Extension(Rule):
    """An extension with one value."""

    makes: ClassVar[frozenset[str]] = frozenset({"Extension"})
    reads: ClassVar[tuple[str, ...]] = ("source",)
    converter: Literal["extension"]
    url: Annotated[str, Field(pattern=r"^(https?://|urn:)\S+$")]
    """Which extension it is."""
    source: Sources = Field(default=(), alias="from")
    """Attributes; the first that has a value counts."""
    kind: Literal["string", "unsignedInt", "positiveInt", "integer", "code", "uri"] = Field(
        default="string", alias="as"
    )
    """Type of the value."""
    value: Any = None
    """A fixed value instead of attributes."""


CONVERTERS: Mapping[str, type[Rule]] = {
    "fixed": Fixed,
    "text": Text,
    "number": Number,
    "time": Time,
    "status": Status,
    "uid": Uid,
    "study_uid": StudyUid,
    "identifier": Identifier,
    "order": Order,
    "patient": Patient,
    "person": Person,
    "performer": Performer,
    "reference": ReferenceTo,
    "codes": Codes,
    "table": Table,
    "modality": Modality,
    "modalities": Modalities,
    "body_site": BodySite,
    "laterality": Laterality,
    "specimen": Specimen,
    "sop_class": SopClass,
    "count": Count,
    "endpoint": Endpoint,
    "extension": Extension,
}
"""Every converter by its name in a mapping file."""
