"""What a person asks for when looking for studies; nothing of a patient stands in an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from starlette.requests import Request

from intu_fhir.db.conditions import has_wildcards
from intu_fhir.db.reports import StudyFilter, StudyRow
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.web.fields import asked, number

PAGE = 50

OPEN_FIELDS = ("state", "modality", "calling_ae_title", "destination", "channel", "day", "until")
"""Fields that may stand in an address."""

PATIENT_FIELDS = ("patient_id", "patient_name", "accession_number")
"""Fields that identify a patient: they are sent in a form's body and stand nowhere else."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search as it was typed, and as the read model takes it.

    Args:
        values: by field, what was typed.
        problem: what of it cannot be understood.
    """

    values: Mapping[str, str]
    wanted: StudyFilter
    problem: str = ""

    @property
    def is_empty(self) -> bool:
        """Say whether nothing was asked for."""
        return not any(self.values.values())

    @property
    def names_a_patient(self) -> bool:
        """Say whether something that identifies a patient was asked for."""
        return any(self.values[name] for name in PATIENT_FIELDS)

    def address(self, path: str) -> str:
        """Return the address of the search without what identifies a patient."""
        query = {name: self.values[name] for name in OPEN_FIELDS if self.values[name]}
        return f"{path}?{urlencode(query)}" if query else path


def search_of(request: Request, *, limit: int = PAGE) -> Search:
    """Read a search from a form or an address."""
    values = {name: asked(request, name) for name in OPEN_FIELDS}
    # What an address says of a patient is not taken, so that nobody begins to write such ones.
    from_form = {
        name: asked(request, name) if request.method == "POST" else "" for name in PATIENT_FIELDS
    }
    values |= from_form
    day, until = _day(values["day"]), _day(values["until"])
    problem = ""
    if (values["day"] and day is None) or (values["until"] and until is None):
        problem = "A date is written as 2024-03-01."
    if values["state"] and values["state"] not in STUDY_STATES:
        problem = f"There is no state {values['state'][:40]}."
        values["state"] = ""
    wanted = StudyFilter(
        patient_id=values["patient_id"] or None,
        patient_name=beginning(values["patient_name"]),
        accession_number=values["accession_number"] or None,
        modality=values["modality"] or None,
        state=values["state"] or None,
        channel=values["channel"] or None,
        calling_ae_title=values["calling_ae_title"] or None,
        destination=values["destination"] or None,
        study_date_from=day,
        study_date_to=until or day,
        after=position(asked(request, "after")),
        limit=limit + 1,
    )
    return Search(values, wanted, problem)


def beginning(name: str) -> str | None:
    """Return the pattern for a name: what it begins with, unless it has wildcards of its own."""
    return name or None if not name or has_wildcards(name) else f"{name}*"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


def position(text: str) -> tuple[datetime, int] | None:
    """Read the place in a list that a page follows."""
    microseconds, _, key = text.partition(".")
    first, second = number(microseconds), number(key)
    if first is None or second is None or first > _LAST:
        return None
    return datetime.fromtimestamp(first // 1_000_000, UTC).replace(
        microsecond=first % 1_000_000
    ), second


_LAST = 253_402_300_799_000_000  # the last second of 9999


def position_after(row: StudyRow) -> str:
    """Write the place of the last row of a page."""
    at = row.last_received_at
    microseconds = int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond
    return f"{microseconds}.{row.study_key}"
