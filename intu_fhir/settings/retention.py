"""How long images are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from intu_fhir.settings.base import Settings


class Retention(Settings):
    """Which studies lose their image files by themselves; their rows and headers stay."""

    after_days: Annotated[float, Field(ge=1)] | None = None
    """Image files go when for so many days nothing of a study came and none of it was delivered;
    absent = they stay."""
    states: tuple[Literal["delivered", "filtered", "staged"], ...] = ("delivered",)
    """States that a study may be in when its files go."""
    only_forwarded: bool = True
    """Keep images that no PACS has confirmed, whatever their age."""
    every_minutes: PositiveFloat = 60.0
    """How often `serve` and `worker` look for such studies."""
