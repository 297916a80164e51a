"""What somebody asks for on Airflow's page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from intu_fhir.engines.airflow.request import Asker, asked_replay, rebuild_of
from intu_fhir.errors import ConfigurationError

ALICE = Asker("alice", "manual__1")
EMPTY: dict[str, Any] = {
    "study": None, "destination": None, "states": [], "since": None, "until": None, "where": None,
    "cause": None, "all": False, "rebuild": False, "force": False, "per_minute": None,
    "dry_run": False, "reason": "",
}  # fmt: skip
"""The form as it is shown."""


def test_a_form_is_a_selection_with_who_and_why() -> None:
    """The same selection as the command's, with the user and the run for the audit trail."""
    form = EMPTY | {
        "destination": "ehr",
        "states": ["dead"],
        "since": "2026-11-26T08:00:00Z",
        "per_minute": 60,
        "reason": "EHR was down",
    }
    selection = asked_replay(form, ALICE)
    wanted = selection.filter
    assert (wanted.destination, wanted.states) == ("ehr", ("dead",))
    assert wanted.since == datetime(2026, 11, 26, 8, tzinfo=UTC)
    assert not wanted.by_reception
    assert selection.per_minute == 60
    assert selection.by == "alice"
    assert selection.reason == "EHR was down (Airflow run manual__1)"


def test_a_form_that_selects_nothing_is_refused() -> None:
    """Everything is put back only where that is said."""
    with pytest.raises(ConfigurationError, match="`all`"):
        asked_replay(EMPTY, ALICE)
    assert asked_replay(EMPTY | {"all": True}, ALICE).filter.destination is None


def test_a_state_that_there_is_not_is_refused() -> None:
    """It would select nothing, and the run would end as if all had been put back."""
    with pytest.raises(ConfigurationError, match="Dead is no state; there are dead, retrying"):
        asked_replay(EMPTY | {"states": ["retrying", "Dead"]}, ALICE)


@pytest.mark.parametrize("more", [{"force": True}, {"per_minute": 1}])
def test_what_does_not_go_with_a_rebuild_is_refused(more: dict[str, Any]) -> None:
    """As the command refuses it."""
    with pytest.raises(ConfigurationError, match="rebuild"):
        asked_replay(EMPTY | {"all": True, "rebuild": True} | more, ALICE)


@pytest.mark.parametrize("time", ["2026-11-26T08:00:00", "yesterday"])
def test_a_time_without_a_zone_is_refused(time: str) -> None:
    """It could mean either of two days."""
    with pytest.raises(ConfigurationError):
        asked_replay(EMPTY | {"since": time}, ALICE)


def test_a_backfill_selects_what_came_in_its_interval() -> None:
    """The studies whose last image came from its begin to its end, to be built again."""
    begin, end = datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)
    selection = rebuild_of(begin, end, Asker("", "backfill__2026-11-25"))
    assert selection.rebuild
    assert selection.filter.by_reception
    assert (selection.filter.since, selection.filter.until) == (begin, end)
    assert selection.by == "airflow"
    assert "backfill__2026-11-25" in selection.reason


def test_names_and_reasons_fit_into_the_audit_trail() -> None:
    """What is too long is cut, not refused: the work is more urgent."""
    asker = Asker("a" * 500, "r" * 500)
    assert len(asker.by) == 64
    assert len(asker.reason("x" * 500)) == 500
