"""How long images and complete headers are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from intu_fhir.settings.base import Settings


class Retention(Settings):
    """What old studies lose by themselves: image files, complete headers; their rows stay."""

    after_days: Annotated[float, Field(ge=1)] | None = None
    """Image files go when for so many days nothing of a study came and none of it was delivered;
    absent = they stay."""
    states: tuple[Literal["delivered", "filtered", "staged"], ...] = ("delivered",)
    """States that a study may be in when its files go."""
    only_forwarded: bool = True
    """Keep images that no PACS has confirmed, whatever their age."""
    headers_days: Annotated[float, Field(ge=1)] | None = None
    """Complete headers go when their instances came so many days ago, many at a time: on PostgreSQL
    by whole parts, so up to a month and some days later; absent = they stay."""
    every_minutes: PositiveFloat = 60.0
    """How often `serve` and `worker` look for such studies; for old headers once a day."""
