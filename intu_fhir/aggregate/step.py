"""Aggregation of one study: settle it, look for conflicts, merge its headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from intu_fhir.aggregate.conflicts import find_conflicts
from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.aggregate.settle import (
    Settled,
    Wait,
    is_settled,
    look_for_headers_at,
    strictest,
)
from intu_fhir.db.holds import hold_study
from intu_fhir.db.session import Database
from intu_fhir.db.studies import record_generation, study_activity
from intu_fhir.db.study_headers import load_headers
from intu_fhir.model.settling import StudyActivity
from intu_fhir.model.work import Claim, Finished, NotYet
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import Settle

_SOON = timedelta(milliseconds=100)


@dataclass(frozen=True)
class AggregateStep:
    """Makes a generation of a study once it is settled.

    Args:
        policies: by channel, when its studies count as settled.
        acquisition_modalities: see ``db.study_headers.load_headers``.
    """

    database: Database
    clock: Clock
    policies: Mapping[str, Settle]
    acquisition_modalities: frozenset[str]

    def __call__(self, claim: Claim) -> Finished | NotYet:
        """Settle the study of ``claim``, or say when to look again."""
        now = self.clock.now()
        with self.database.read() as connection:
            activity = study_activity(connection, claim.study_key)
        decision = is_settled(activity, self._policy(activity), now)
        if isinstance(decision, Wait):
            return NotYet(decision.until)
        if activity.undescribed:
            return NotYet(look_for_headers_at(activity, now))
        return self._settle(claim, activity, decision)

    def _policy(self, activity: StudyActivity) -> Settle:
        known = [self.policies[name] for name in activity.channels if name in self.policies]
        return strictest(known)

    def _settle(self, claim: Claim, activity: StudyActivity, settled: Settled) -> Finished | NotYet:
        with self.database.read() as connection:
            headers = load_headers(
                connection, claim.study_key, acquisition_modalities=self.acquisition_modalities
            )
        if headers.revision != claim.want:
            # Something arrived since the claim: judge the study anew with it.
            return NotYet(self.clock.now() + _SOON)
        generation = activity.generation + 1
        study = merge_headers(
            headers.study_instance_uid, headers.series, headers.calling_ae_titles, generation
        )
        conflicts = find_conflicts(headers)
        now = self.clock.now()

        def record(connection: Any) -> None:
            record_generation(
                connection,
                study,
                study_key=claim.study_key,
                revision=headers.revision,
                evidence=settled.evidence,
                detail=settled.detail,
                now=now,
            )
            hold_study(connection, claim.study_key, conflicts, generation=generation, now=now)

        return Finished(record, generation)
