"""How long images, complete headers and logs are kept."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from intu_fhir.settings.base import Settings

RetentionDays: TypeAlias = Annotated[float, Field(ge=1, le=36_500)]


class Retention(Settings):
    """What goes by itself when it is old: image files, complete headers, logs; studies stay."""

    after_days: RetentionDays | None = None
    """Image files go when for so many days nothing of a study came and none of it was delivered;
    absent = they stay."""
    states: tuple[Literal["delivered", "filtered", "staged"], ...] = ("delivered",)
    """States that a study may be in when its files go."""
    only_forwarded: bool = True
    """Keep images that no PACS has confirmed, whatever their age."""
    headers_days: RetentionDays | None = None
    """Complete headers go when their instances came so many days ago, many at a time: on PostgreSQL
    by whole parts, so up to a month and some days later; absent = they stay."""
    attempts_days: RetentionDays | None = None
    """Tries to deliver go when they ended so many days ago, many at a time as headers do; absent =
    they stay."""
    audit_days: RetentionDays | None = None
    """Events of the audit trail go when they happened so many days ago; absent = they stay. Ask
    first how long the law wants them."""
    every_minutes: Annotated[float, Field(gt=0, le=44_640)] = 60.0
    """How often `serve` and `worker` look for such studies, and remove files that a new copy has
    replaced; for old rows once a day."""
