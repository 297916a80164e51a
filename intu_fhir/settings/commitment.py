"""What a PACS is asked to promise once it has the images (PS3.4 annex J)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from intu_fhir.settings.base import AeTitle, Port, Seconds, Settings


class Commitment(Settings):
    """Storage commitment push model as SCU: the PACS's promise to keep what it was sent."""

    awaited: bool = False
    """True = destinations that come `after` this one wait for the promise too."""
    answer_seconds: Seconds = 3_600.0
    """Its result has to come within this, on whatever association; then it is asked anew."""
    wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = 2.0
    """How long our association stays open for a result; later ones come on one of the PACS's."""
    max_tries: PositiveInt = 3
    """Requests for the same instances, after which their delivery is a dead letter."""
    max_instances: Annotated[int, Field(ge=1, le=30_000)] = 1_000
    """Most instances of one request: its result has to be read at once."""
    ae_title: AeTitle | None = None
    """AE title that we ask by, and that the PACS answers to; absent = that of the destination."""
    called_ae_title: AeTitle | None = None
    """AE title that is asked; absent = that of the destination."""
    host: str | None = None
    """Where that one is; absent = that of the destination."""
    port: Port | None = None
    """Its port; absent = that of the destination."""
    answers_from: Annotated[tuple[AeTitle, ...], Field(max_length=64)] = ()
    """More AE titles that the PACS answers by, beside the one that is asked."""
