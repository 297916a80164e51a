"""What a person asks for when looking for studies; nothing of a patient stands in an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from starlette.requests import Request

from intu_fhir.db.conditions import has_wildcards
from intu_fhir.db.reports import StudyFilter, StudyPage, StudyRow, place_of
from intu_fhir.db.study_search import WINDOW, Place
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.web.fields import asked, number
from intu_fhir.web.words import dicom_date, minute

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
    by_date = day is not None or until is not None
    after = position_in(asked(request, "after"), by_date=by_date)
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
        after=after,
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


def position_in(text: str, *, by_date: bool) -> Place | None:
    """Read the place in a list; one of a list in another order is none."""
    after = position(text)
    return after if after is not None and isinstance(after[0], str) is by_date else None


def position(text: str) -> Place | None:
    """Read the place in a list that a page follows."""
    if not text.startswith(_BY_DATE):
        return position_in_time(text)
    ordered_by, _, key = text.rpartition(".")
    second = number(key)
    return None if second is None else (ordered_by.removeprefix(_BY_DATE), second)


def position_in_time(text: str) -> tuple[datetime, int] | None:
    """Read the place in a list that is ordered by a time."""
    ordered_by, _, key = text.rpartition(".")
    first, second = number(ordered_by), number(key)
    if first is None or second is None or first > _LAST:
        return None
    return datetime.fromtimestamp(first // 1_000_000, UTC).replace(
        microsecond=first % 1_000_000
    ), second


_LAST = 253_402_300_799_000_000  # the last second of 9999
_BY_DATE = "d"


def position_text(place: Place) -> str:
    """Write a place in a list."""
    ordered_by, key = place
    if isinstance(ordered_by, str):
        return f"{_BY_DATE}{ordered_by}.{key}"
    whole = int(ordered_by.replace(microsecond=0).timestamp())
    return f"{whole * 1_000_000 + ordered_by.microsecond}.{key}"


@dataclass(frozen=True, slots=True)
class Pager:
    """What stands below a page of studies.

    Args:
        rows: of this page.
        next_after: the place that the next page follows; empty where there is none.
        looked_to: how far down was looked, where the page ended before it was full.
        looked_at: how many studies were looked at then, at most.
    """

    rows: Sequence[StudyRow]
    next_after: str
    looked_to: str
    looked_at: int = WINDOW


def pager(found: StudyPage, wanted: StudyFilter) -> Pager:
    """Return what is shown of one row more than a page has."""
    rows = found.rows[: wanted.limit - 1]
    if len(found.rows) > len(rows):
        last = rows[-1]
        place = place_of(wanted, last.study_date, last.last_received_at, last.study_key)
        return Pager(rows, position_text(place), "")
    if found.looked_to is None:
        return Pager(rows, "", "")
    ordered_by = found.looked_to[0]
    looked_to = dicom_date(ordered_by) if isinstance(ordered_by, str) else minute(ordered_by)
    return Pager(rows, position_text(found.looked_to), looked_to)
