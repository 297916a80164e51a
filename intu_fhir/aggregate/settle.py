"""When a study counts as complete for now, and by which evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from intu_fhir.model.settling import StudyActivity
from intu_fhir.settings.schema import Settle

OPERATOR = "operator"
EXPECTED_COUNT = "expected_count"
ASSOCIATION_RELEASED = "association_released"
QUIET = "quiet"

_HEADERS_SECONDS = 0.5

_SHORTEST = timedelta(milliseconds=100)
_LONGEST = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Settled:
    """The study is complete for now; ``evidence`` says why we think so."""

    evidence: str
    detail: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The study may still grow; look again at ``until``."""

    until: datetime


Decision: TypeAlias = Settled | Wait


def strictest(policies: Sequence[Settle]) -> Settle:
    """Return the policy of a study that came through several channels: the most patient one."""
    if not policies:
        return Settle()
    return Settle(
        quiet_seconds=max(policy.quiet_seconds for policy in policies),
        on_release=all(policy.on_release for policy in policies),
        on_expected_count=all(policy.on_expected_count for policy in policies),
    )


def first_look_seconds(policy: Settle) -> float:
    """Return how long after its last instance a study is judged for the first time.

    Its quiet time, unless it may settle earlier by what its headers announce: these are staged
    a moment after the instance.
    """
    if policy.on_expected_count:
        return min(policy.quiet_seconds, _HEADERS_SECONDS)
    return policy.quiet_seconds


def is_settled(study: StudyActivity, policy: Settle, now: datetime) -> Decision:
    """Judge whether a study is complete for now: the strongest evidence first.

    Quiet time always counts in the end, so no study waits for ever.
    """
    if study.settle_requested_by:
        return Settled(OPERATOR, f"asked for by {study.settle_requested_by}")
    expected = study.expected_instances
    if policy.on_expected_count and expected and study.number_of_instances >= expected:
        return Settled(EXPECTED_COUNT, f"{study.number_of_instances} of {expected} instances")
    if policy.on_release and study.open_associations == 0:
        return Settled(ASSOCIATION_RELEASED, "no association is open for the study")
    quiet_until = study.last_received_at + timedelta(seconds=policy.quiet_seconds)
    if now >= quiet_until:
        return Settled(QUIET, f"no instance for {policy.quiet_seconds:g} s")
    return Wait(quiet_until)


def look_for_headers_at(study: StudyActivity, now: datetime) -> datetime:
    """Say when to look again for headers that are not staged yet.

    They come a moment after their instances. Where they did not, such as with a machine that is
    down and has the files, thousands of studies may wait: each costs less the longer it waits, and
    a tenth of its wait is what it may be late.
    """
    waited = now - study.last_received_at
    return now + min(max(waited / 10, _SHORTEST), _LONGEST)
