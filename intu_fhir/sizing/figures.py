"""The figures of a site: what comes in, and what its machines can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from intu_fhir.settings.base import Settings
from intu_fhir.settings.mistakes import raise_mistakes, validation_mistakes
from intu_fhir.settings.yaml_lines import load_with_lines

Minutes = NonNegativeFloat


class Load(Settings):
    """What the modalities send."""

    studies_per_minute: PositiveFloat = 10.0
    """Studies that begin in a minute of the busiest hour."""
    images_per_study: PositiveInt = 200
    """Images of the middle study."""
    spread: Annotated[float, Field(ge=0, le=3)] = 1.0
    """How unlike studies are: 0 = all alike; 1 = one in twenty has five times the middle one's
    images (sigma of a log-normal distribution)."""
    kilobytes_per_image: PositiveFloat = 526.0
    """Size of an image; 526 = 512 by 512 pixels of 16 bits."""
    images_per_second: PositiveFloat = 50.0
    """Rate at which one modality would send over one association."""
    hours_per_day: Annotated[float, Field(gt=0, le=24)] = 10.0
    """Hours of a day that are as busy, for what a day and a year need."""


class Receivers(Settings):
    """The receiving machines."""

    machines: PositiveInt = 1
    """How many share the load."""
    images_per_second: PositiveFloat = 300.0
    """What one of them takes on PostgreSQL, over all of its associations; measure yours."""
    object_store: bool = False
    """Whether files go to an object store: then each is uploaded and read back there."""
    upload_seconds_per_image: NonNegativeFloat = 0.0045
    """Time of a core to upload an image and to read it back, where there is an object store."""


class Workers(Settings):
    """The working machines."""

    machines: PositiveInt = 1
    """How many."""
    cores: PositiveInt = 1
    """Studies that one of them settles and builds at the same time: its cores."""
    seconds_per_study: NonNegativeFloat = 0.08
    """Time to settle and build a study, one after the other, without its images."""
    seconds_per_image: NonNegativeFloat = 0.00002
    """The same for each of its images."""
    describe_seconds_per_image: NonNegativeFloat = 0.004
    """Time to read the complete header of an image from its file and to store it."""
    send_seconds_per_image: NonNegativeFloat = 0.0011
    """Time of a core to send an image to one PACS: a destination where images cost something."""


class Outage(Settings):
    """A time at which a destination is down, in minutes from the beginning."""

    begin: Minutes
    """When it goes down."""
    end: Minutes
    """When it is back."""


class FarSide(Settings):
    """One destination."""

    at_once: PositiveInt = 4
    """Studies on their way to it at the same time (`concurrency`, `max_associations`)."""
    seconds_per_study: NonNegativeFloat = 0.1
    """What a study costs there, without its images."""
    seconds_per_image: NonNegativeFloat = 0.0
    """What each image costs there."""
    after: str | None = None
    """Destination that has to have the study first."""
    outage: Outage | None = None
    """A time at which it is down."""


class Stored(Settings):
    """What is kept, for the disks."""

    staging_bytes_per_image: PositiveFloat = 11_000.0
    """Bytes of the staging database for each image, indexes included; measure yours."""
    files_days: PositiveFloat = 90.0
    """Days that image files stay (`retention.after_days`)."""


class Figures(Settings):
    """All of it."""

    load: Load = Load()
    """What the modalities send."""
    quiet_seconds: NonNegativeFloat = 30.0
    """`settle.quiet_seconds`; 0 = the end of the association tells."""
    receivers: Receivers = Receivers()
    """The receiving machines."""
    workers: Workers = Workers()
    """The working machines."""
    destinations: dict[str, FarSide] = Field(
        default_factory=lambda: {
            "pacs": FarSide(seconds_per_image=0.0015),
            "ehr": FarSide(seconds_per_study=0.1),
        }
    )
    """The destinations, by name."""
    stored: Stored = Stored()
    """What is kept."""
    minutes: Annotated[float, Field(gt=0, le=10_000)] = 60.0
    """How long studies come."""
    seed: int = 1
    """The same seed gives the same studies."""


def load_figures(file: Path) -> Figures:
    """Read the figures of a site from YAML; what is left out has its default.

    Raises:
        ConfigurationError: something is wrong; every mistake is told with file, line and key.
    """
    document = load_with_lines(file)
    try:
        return Figures.model_validate(document.value)
    except ValidationError as error:
        raise_mistakes(validation_mistakes(error, Figures, document, frozenset()))
        raise
