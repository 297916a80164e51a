"""Which studies a destination gets, and when."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from intu_fhir.model.expression_text import parse_expression
from intu_fhir.settings.base import AeTitle, Settings


def _expression(value: str) -> str:
    parse_expression(value)  # raises ValueError with words that name the place
    return value


class Only(Settings):
    """Which studies a destination gets; all that is said here has to hold."""

    modalities: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    """A series of the study has one of these modalities."""
    calling_ae_titles: Annotated[tuple[AeTitle, ...] | None, Field(min_length=1)] = None
    """One of these senders sent something of the study."""
    channels: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    """It came in by one of these channels."""
    where: Annotated[str, AfterValidator(_expression)] | None = None
    """A condition on staged attributes, such as `Modality = CT and not PatientID like "QA*"`."""
