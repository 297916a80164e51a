"""Building of one study: what its destinations are to get, valid or held with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from intu_fhir.build.companions import CompanionBuilder
from intu_fhir.build.imaging_study import BuildContext, build_imaging_study
from intu_fhir.build.routes import left_out
from intu_fhir.build.transform import Message, Transformer
from intu_fhir.build.validate import validate_resource
from intu_fhir.db.old_headers import be_first_at_headers
from intu_fhir.db.resources import FILTERED, INVALID, VALID, BuiltResource, store_resource
from intu_fhir.db.session import Database
from intu_fhir.db.studies import channels_of, generation_revision
from intu_fhir.errors import TransientError
from intu_fhir.mappings import Mapping as StudyMapping
from intu_fhir.mappings import Release
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.finding import errors
from intu_fhir.model.settling import StudyHold
from intu_fhir.model.study import Study
from intu_fhir.model.work import FILTERED as FILTERED_DELIVERY
from intu_fhir.model.work import HELD, WAITING, Claim, DeliveryWish, Finished
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import AnyDestination, FhirDestination

INVALID_RESOURCE = "invalid_resource"
DEFAULT_RELEASE: Release = "r4"
_NO_CHANNEL = (
    "It came through {names}, and this worker's configuration has no such channel; bring it back "
    "(with `enabled: false` it need not listen) and restart the worker"
)

LoadStudy = Callable[[Any, int, int], tuple[Study, int]]
"""Reads study key and generation; returns the merged study and the revision it shows."""


@dataclass(frozen=True)
class ChannelPlan:
    """What a channel wants done with its studies."""

    channel: str
    mapping: StudyMapping
    transformer: Transformer | None
    destinations: Mapping[str, AnyDestination]


@dataclass(frozen=True)
class BuildStep:
    """Builds the ImagingStudy of a generation for every release its destinations speak.

    Args:
        fallback: the plan of previews of studies whose channels are not configured.
        companions: what builds that which goes beside a study, where a destination asks for it.
    """

    database: Database
    clock: Clock
    load_study: LoadStudy
    plans: Mapping[str, ChannelPlan]
    fallback: ChannelPlan
    context: BuildContext
    companions: CompanionBuilder | None = None

    def __call__(self, claim: Claim) -> Finished:
        """Build the generation that ``claim`` wants.

        A study that has grown since it settled is left alone: it settles again, and what is
        published is always exactly what was judged.
        """
        with self.database.snapshot() as connection:
            be_first_at_headers(connection)
            study, revision = self.load_study(connection, claim.study_key, claim.want)
            settled = generation_revision(connection, claim.study_key, claim.want)
            channels = channels_of(connection, claim.study_key)
        if revision != settled:
            return Finished(lambda connection: None, claim.want)
        plans = self._plans(channels)
        destinations = {name: d for plan in plans for name, d in plan.destinations.items()}
        built = [
            self._with_companions(
                self.build_release(study, plans[0], release),
                study,
                plans[0],
                _kinds(destinations, release),
            )
            for release in _releases(destinations)
        ]
        now = self.clock.now()

        def record(connection: Any) -> None:
            for resource in built:
                store_resource(connection, claim.study_key, claim.want, resource, now)

        by_release = {resource.release: resource for resource in built}
        reasons = left_out(destinations, study, channels)
        wishes = {
            name: _wish(claim.study_instance_uid, destination, by_release, reasons.get(name, ""))
            for name, destination in destinations.items()
        }
        return Finished(record, claim.want, wishes)

    def _plans(self, channels: Sequence[str]) -> list[ChannelPlan]:
        """Return what the channels of a study want.

        Raises:
            TransientError: none of them is configured here, such as while a new one was added for
                the receivers already; the study would go to no destination, and nobody would know.
        """
        known = [self.plans[name] for name in channels if name in self.plans]
        if not known:
            raise TransientError(_NO_CHANNEL.format(names=", ".join(sorted(channels))))
        return known

    def build_release(self, study: Study, plan: ChannelPlan, release: Release) -> BuiltResource:
        """Build, transform and validate the resource of one release."""
        context = replace(self.context, today=self.clock.now().date())
        built = build_imaging_study(study, plan.mapping, release, context)
        resource: dict[str, Any] | None = built.resource
        if plan.transformer is not None:
            resource = plan.transformer(Message.of(built.resource, study))
        if resource is None:
            return self._result(plan, release, FILTERED, None, list(built.findings))
        findings = [*study.findings, *built.findings, *validate_resource(resource, release)]
        state = INVALID if errors(findings) else VALID
        return self._result(plan, release, state, resource, findings)

    def _with_companions(
        self, built: BuiltResource, study: Study, plan: ChannelPlan, kinds: frozenset[str]
    ) -> BuiltResource:
        """Add what goes beside the study; nothing wrong there keeps the study back."""
        if self.companions is None or not kinds or built.state != VALID or not built.resource:
            return built
        context = replace(self.context, today=self.clock.now().date())
        release: Release = "r5" if built.release == "r5" else "r4"
        found = self.companions.build(study, built.resource, kinds, plan.mapping, release, context)
        findings = [*built.findings, *found.findings]
        return replace(built, companions=found.companions, findings=findings)

    @staticmethod
    def _result(
        plan: ChannelPlan,
        release: str,
        state: str,
        resource: dict[str, Any] | None,
        findings: list[Any],
    ) -> BuiltResource:
        return BuiltResource(
            release=release,
            mapping_version=plan.mapping.version,
            channel=plan.channel,
            state=state,
            content_hash=content_hash(resource) if resource else "",
            resource=resource,
            findings=findings,
        )


def _releases(destinations: Mapping[str, AnyDestination]) -> list[Release]:
    """The releases to build; one is built even where no FHIR server wants it, to be looked at."""
    spoken = {d.release for d in destinations.values() if isinstance(d, FhirDestination)}
    return sorted(spoken) or [DEFAULT_RELEASE]


def _kinds(destinations: Mapping[str, AnyDestination], release: Release) -> frozenset[str]:
    """What any destination of a release asks for beside the study."""
    asked = (
        d.publish.built
        for d in destinations.values()
        if isinstance(d, FhirDestination) and d.release == release
    )
    return frozenset().union(*asked)


HOOK_DROPPED = "the channel's transformer dropped this study"


def _wish(
    study_uid: str,
    destination: AnyDestination,
    built: Mapping[str, BuiltResource],
    left_out: str,
) -> DeliveryWish:
    """Decide what one destination gets, unless the whole study is held."""
    if any(resource.state == FILTERED for resource in built.values()):
        return DeliveryWish(FILTERED_DELIVERY, reason=HOOK_DROPPED)
    if left_out:
        return DeliveryWish(FILTERED_DELIVERY, reason=left_out)
    if not isinstance(destination, FhirDestination):
        return DeliveryWish(WAITING)
    resource = built[destination.release]
    if resource.state == INVALID:
        return DeliveryWish(HELD, again=True, hold=_invalid(study_uid, resource))
    return DeliveryWish(WAITING, again=True)


def _invalid(study_uid: str, resource: BuiltResource) -> StudyHold:
    codes = sorted({finding.code for finding in errors(list(resource.findings))})
    return StudyHold(
        INVALID_RESOURCE,
        f"the {resource.release} resource has errors ({', '.join(codes)[:200]}); read its findings "
        f"with `intu-fhir study {study_uid}`, mend the images or the mapping, then "
        f"`intu-fhir replay --rebuild --study {study_uid}`",
    )
