"""Kinds of values that requests bring, each bounded to what both databases can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Generic, TypeAlias, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from intu_fhir.db.conditions import LIMIT
from intu_fhir.db.study_states import STUDY_STATES

T = TypeVar("T")

MOST = 1_000
"""Most rows of one answer."""

_LARGEST_KEY = 2**63 - 1
_NUMBER = re.compile(r"[+-]?[0-9.]*([eE][+-]?[0-9]+)?")


def _in_utc(time: datetime) -> datetime:
    """Return a time in UTC; one at the end of the calendar stays there."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if time.year == 1 else datetime.max
        return edge.replace(tzinfo=UTC)


def _as_text(value: object) -> object:
    """Refuse a number where a time is written, which would be read as seconds since 1970."""
    is_number = isinstance(value, str) and _NUMBER.fullmatch(value)
    if is_number or not isinstance(value, (str, date)):
        raise ValueError("write a date as 2024-03-01, a time as 2024-03-01T12:30:00Z")
    return value


def _whole(value: object) -> object:
    """Refuse what JSON does not count as a whole number; 3.0 is one."""
    if isinstance(value, (bool, str)):
        raise ValueError("write a whole number")  # noqa: TRY004  (pydantic takes no TypeError)
    return value


def _study_state(state: str) -> str:
    if state not in STUDY_STATES:
        raise ValueError(f"no state of a study; there are: {', '.join(STUDY_STATES)}")
    return state


Text: TypeAlias = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]
"""Text that both databases can compare; none of them holds NUL."""

Uid: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9.]+$")]
"""A UID (PS3.5 9.1)."""

Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_in_utc)]
"""A time with its zone (RFC 3339)."""

Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
"""A whole number of a body."""

Day: TypeAlias = Annotated[date, BeforeValidator(_as_text)]
"""A date (RFC 3339)."""

StudyState: TypeAlias = Annotated[
    str, AfterValidator(_study_state), Field(json_schema_extra={"enum": list(STUDY_STATES)})
]

Position: TypeAlias = Annotated[str, Field(pattern=r"^(?:[0-9]{1,18}|d[ -~]{0,32})\.[0-9]{1,18}$")]
"""``next`` of the page before."""

UidPath: TypeAlias = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[0-9.]+$", description="Study Instance UID.")
]
KeyPath: TypeAlias = Annotated[int, Path(ge=0, le=_LARGEST_KEY)]
NamePath: TypeAlias = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00/]+$")]
After: TypeAlias = Annotated[
    int | None, Query(ge=0, le=_LARGEST_KEY, description="`next` of the page before.")
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="Most rows to answer.")]

DEFAULT_LIMIT = LIMIT


class Asked(BaseModel):
    """A body or query of ours: what is not known is refused, so that a misspelt filter is seen."""

    model_config = ConfigDict(extra="forbid")


class Why(Asked):
    """Why, for those who see it."""

    reason: str = Field("", max_length=500, pattern=r"^[^\x00]*$")


class Page(BaseModel, Generic[T]):
    """Some rows of a list.

    ``next`` is what to send as ``after`` for the rows that follow; null at the end.
    """

    items: list[T]
    next: str | None = None


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Mapping[str, str]] | None = Field(
        default=None, description="For 422: which field, and what is wrong with it."
    )
