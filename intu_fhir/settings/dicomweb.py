"""The section ``web.dicomweb``: images and their headers for viewers and other programs."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from intu_fhir.settings.base import Seconds, Settings

Origin: TypeAlias = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$")]


class DicomWeb(Settings):
    """DICOMweb (PS3.18): search and retrieve what is staged, beside the web page."""

    enabled: bool = True
    """False = no DICOMweb."""
    path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")] = "/dicom-web"
    """Where it is on the web page's host."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s?#@]*[^\s?#@/]$")] | None = None
    """The same as others reach it, without `/studies` and without a slash at its end; stands in
    answers and in Endpoints. Absent = answers have the name by which they were asked for.
    """
    max_results: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Most results of a search; more are had by `offset`."""
    allowed_origins: tuple[Origin, ...] = ()
    """Other web sites whose pages may read it, such as a viewer; scheme, name and port (CORS)."""
    send_seconds: Seconds = 60.0
    """When a reader takes nothing for so long, the answer is given up."""
