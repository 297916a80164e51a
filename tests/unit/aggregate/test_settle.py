"""When a study counts as complete."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.aggregate.settle import (
    Settled,
    Wait,
    first_look_seconds,
    is_settled,
    look_for_headers_at,
    strictest,
)
from intu_fhir.model.settling import StudyActivity
from intu_fhir.settings.schema import Settle

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
ACTIVE = StudyActivity(
    study_key=1,
    study_instance_uid="1.2.3",
    channels=("radiology",),
    revision=5,
    generation=0,
    last_received_at=NOW,
    number_of_instances=5,
    open_associations=1,
    undescribed=0,
)


def test_a_study_settles_after_its_quiet_time() -> None:
    """Quiet for as long as the policy says is evidence; a second less is not."""
    policy = Settle(quiet_seconds=30)
    assert is_settled(ACTIVE, policy, NOW + timedelta(seconds=29)) == Wait(
        NOW + timedelta(seconds=30)
    )
    settled = is_settled(ACTIVE, policy, NOW + timedelta(seconds=30))
    assert isinstance(settled, Settled)
    assert settled.evidence == "quiet"


STRONGER = [
    ("operator", Settle(), replace(ACTIVE, settle_requested_by="jo")),
    ("expected_count", Settle(on_expected_count=True), replace(ACTIVE, expected_instances=5)),
    ("association_released", Settle(on_release=True), replace(ACTIVE, open_associations=0)),
]


@pytest.mark.parametrize(("evidence", "policy", "study"), STRONGER)
def test_stronger_evidence_settles_at_once(
    evidence: str, policy: Settle, study: StudyActivity
) -> None:
    """What the policy allows as evidence settles a study without waiting."""
    settled = is_settled(study, policy, NOW)
    assert isinstance(settled, Settled)
    assert settled.evidence == evidence


NOT_EVIDENCE = [
    ("count not allowed", Settle(), replace(ACTIVE, expected_instances=5)),
    ("count not reached", Settle(on_expected_count=True), replace(ACTIVE, expected_instances=6)),
    ("count of zero", Settle(on_expected_count=True), replace(ACTIVE, expected_instances=0)),
    ("release not allowed", Settle(), replace(ACTIVE, open_associations=0)),
    ("another association open", Settle(on_release=True), ACTIVE),
]


@pytest.mark.parametrize(("why", "policy", "study"), NOT_EVIDENCE)
def test_weaker_signs_do_not_settle(why: str, policy: Settle, study: StudyActivity) -> None:
    """Signs that the policy does not allow, or that do not suffice, leave the study waiting."""
    assert isinstance(is_settled(study, policy, NOW), Wait), why


def test_several_channels_are_judged_by_the_most_patient() -> None:
    """A study of two channels waits for the longer quiet time and for evidence both allow."""
    policy = strictest([Settle(quiet_seconds=5, on_release=True), Settle(quiet_seconds=60)])
    assert policy == Settle(quiet_seconds=60, on_release=False)


@given(quiet=st.floats(0, 86_400), waited=st.floats(0, 200_000))
def test_no_study_waits_for_ever(quiet: float, waited: float) -> None:
    """A waiting study is always told a time at which it settles."""
    policy = Settle(quiet_seconds=quiet)
    decision = is_settled(ACTIVE, policy, NOW + timedelta(seconds=waited))
    if isinstance(decision, Wait):
        assert isinstance(is_settled(ACTIVE, policy, decision.until), Settled)


def test_a_study_is_first_looked_at_when_it_can_settle() -> None:
    """After its quiet time, or as soon as headers are staged where their count is evidence."""
    assert first_look_seconds(Settle(quiet_seconds=30)) == 30
    assert first_look_seconds(Settle(quiet_seconds=30, on_expected_count=True)) < 1


@pytest.mark.parametrize(
    ("waited", "more"), [(-5, 0.1), (0, 0.1), (1, 0.1), (30, 3), (600, 60), (86_400, 300)]
)
def test_a_study_without_a_header_costs_less_the_longer_it_waits(
    waited: float, more: float
) -> None:
    """It is looked at after a tenth of its wait: at least 0.1 s, at most five minutes."""
    now = NOW + timedelta(seconds=waited)
    assert look_for_headers_at(ACTIVE, now) == now + timedelta(seconds=more)
