"""The half of a site that works on what was received: settles, builds and delivers.

It takes a third of a process's memory, so a process that only receives does not import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any

from intu_fhir.aggregate.lacking import lacking_headers
from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.aggregate.step import AggregateStep
from intu_fhir.app.asking import Asking
from intu_fhir.app.hearing import Archive
from intu_fhir.app.sealing import Sealing
from intu_fhir.app.wiring import (
    ASK,
    COMMIT,
    COMMIT_UPKEEP,
    CUT,
    DESCRIBE,
    HANG_UP,
    PRUNE,
    PRUNE_ATTEMPTS,
    PRUNE_AUDIT,
    PRUNE_HEADERS,
    SEAL,
    TELL,
    App,
)
from intu_fhir.build.companions import CompanionBuilder
from intu_fhir.build.endpoint import wado_rs_endpoint
from intu_fhir.build.imaging_study import BuildContext
from intu_fhir.build.routes import require_staged
from intu_fhir.build.step import BuildStep, ChannelPlan
from intu_fhir.build.structured_report import DOCUMENT_ATTRIBUTES
from intu_fhir.build.transform import load_transformer
from intu_fhir.db.archive_commitments import drop_others
from intu_fhir.db.following import let_all_go
from intu_fhir.db.old_attempts import Attempts
from intu_fhir.db.old_headers import Headers
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.study_headers import Later, load_headers
from intu_fhir.db.turns import Turn
from intu_fhir.deliver.commitment_scu import CommitmentScu
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.deliver.following import AfterOthers, Deliver
from intu_fhir.deliver.step import DicomDelivery, FhirDelivery
from intu_fhir.engines.engine import EVERYTHING, Share
from intu_fhir.engines.local import Chore, LocalEngine
from intu_fhir.mappings import (
    Level,
    acquisition_modalities,
    attributes_at,
    attributes_of,
    levels_digest,
    load_mapping,
)
from intu_fhir.model.study import Study
from intu_fhir.model.work import AGGREGATE, BUILD, DELIVER
from intu_fhir.pipeline.runner import Lane, StepFunction
from intu_fhir.settings.schema import AnyDestination, Channel, FhirDestination
from intu_fhir.stage.describer import Describer
from intu_fhir.stage.documents import Documents
from intu_fhir.stage.encodings import Limits
from intu_fhir.stage.from_json import values_by_level
from intu_fhir.upkeep.commitments import CommitmentUpkeep
from intu_fhir.upkeep.old_rows import AuditRemoval, Removal, ScheduledRemoval
from intu_fhir.upkeep.parts import ScheduledCut
from intu_fhir.upkeep.prune import Prune, ScheduledPrune

_MOST_TELLING = 8
"""Threads that tell results of storage commitment: so many requesters may be silent at a time."""


class Working:
    """The steps of a site, made once and shared."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._clients: list[FhirClient] = []
        self._scus: list[StorageScu] = []

    @cached_property
    def describer(self) -> Describer:
        """What stages complete headers."""
        app, receiver = self._app, self._app.configuration.site.receiver
        return Describer(
            app.database,
            app.files,
            app.clock,
            self.levels,
            Limits.of(receiver),
            receiver.character_sets,
        )

    @cached_property
    def build(self) -> BuildStep:
        """What builds resources, for publishing and for previews."""
        channels = self._app.configuration.channels
        plans = {channel.id: self.plan(channel) for channel in channels}
        return BuildStep(
            database=self._app.database,
            clock=self._app.clock,
            load_study=self.load_study,
            plans=plans,
            fallback=ChannelPlan("", load_mapping(None), None, {}),
            context=self.build_context(),
            companions=self.companions(),
        )

    def companions(self) -> CompanionBuilder:
        """What builds that which goes beside a study."""
        receiver = self._app.configuration.site.receiver
        documents = Documents(
            self._app.files, DOCUMENT_ATTRIBUTES, Limits.of(receiver), receiver.character_sets
        )
        return CompanionBuilder(documents, version("intu-fhir"))

    def build_context(self) -> BuildContext:
        """What a build needs to know of the site."""
        site = self._app.configuration.site
        fhir = [d for d in site.destinations.values() if isinstance(d, FhirDestination)]
        return BuildContext(
            time_zone=site.time_zone,
            identifiers=site.identifiers,
            max_instances=min((d.max_instances for d in fhir), default=5_000),
            max_body_bytes=min((d.max_body_bytes for d in fhir), default=1_000_000),
        )

    def plan(self, channel: Channel) -> ChannelPlan:
        """Return what a channel wants done with its studies."""
        mapping, destinations = load_mapping(channel.mapping), self.destinations(channel)
        require_staged(destinations, attributes_of([mapping]).levels)
        return ChannelPlan(
            channel=channel.id,
            mapping=mapping,
            transformer=load_transformer(channel.transformer) if channel.transformer else None,
            destinations=destinations,
        )

    def destinations(self, channel: Channel) -> dict[str, AnyDestination]:
        """Return the destinations of a channel by name."""
        everywhere = self._app.configuration.site.destinations
        return {name: everywhere[name] for name in channel.destinations}

    @cached_property
    def levels(self) -> Mapping[str, Level]:
        """The attributes that the mappings of this site want, with their levels."""
        mappings = [load_mapping(c.mapping) for c in self._app.configuration.channels]
        return attributes_of(mappings).levels

    def load_study(self, connection: Any, study_key: int, generation: int) -> tuple[Study, int]:
        """Read and merge what is staged of a study; return it with its revision."""
        return self.load_study_for(self.levels, connection, study_key, generation)

    def load_study_for(
        self, levels: Mapping[str, Level], connection: Any, study_key: int, generation: int
    ) -> tuple[Study, int]:
        """Do the same for a given list of attributes, whenever the study came."""
        later = Later(
            levels_digest(levels), partial(values_by_level, levels=levels), self._app.headers_again
        )
        headers = load_headers(
            connection,
            study_key,
            acquisition_modalities=acquisition_modalities(),
            later=later,
        )
        study = merge_headers(
            headers.study_instance_uid,
            headers.series,
            headers.calling_ae_titles,
            generation,
            attributes=attributes_at(levels),
        )
        lacking = lacking_headers(headers)
        return replace(study, findings=(*study.findings, *lacking)), headers.revision

    def look_again(self) -> None:
        """Let what waits for another destination look again: the order may be another one now.

        What waits for a promise that nobody is asked for any more is let go for good.
        """
        with self._app.database.write() as connection:
            drop_others(connection, list(self._app.asked))
            let_all_go(connection, now=self._app.clock.now())

    def engine(self, share: Share = EVERYTHING) -> LocalEngine:
        """Return the worker threads of this site, or of a share of it, not started."""
        functions: dict[tuple[str, str], StepFunction] = {}
        lanes: list[tuple[Lane, int]] = []
        chores: list[Chore] = []
        if share.prepare:
            functions |= {(AGGREGATE, ""): self._aggregate(), (BUILD, ""): self.build}
            lanes += [(Lane(AGGREGATE), 1), (Lane(BUILD), 1)]
            chores += self._chores()
        for name, destination in self._app.configuration.site.destinations.items():
            if share.serves(name):
                functions[DELIVER, name] = self._in_turn(destination)
                limit = destination.limit
                lanes.append((Lane(DELIVER, name, limit, destination.max_per_minute), limit))
        chores += [self._asks(one) for one in self._app.asked.values() if share.serves(one.name)]
        if share.prune:
            chores.append(Chore(PRUNE, self.scheduled_prune().prune_some, then=PRUNE))
            removals = self.scheduled_removals().items()
            chores += [Chore(name, one.remove_some, then=name) for name, one in removals]
        if self._scus:
            chores.append(Chore(HANG_UP, self._hang_up, then=HANG_UP))
        may_work = self._app.clock_watch.is_right
        return LocalEngine(self._app.runner(functions), lanes, chores, may_work)

    def _aggregate(self) -> AggregateStep:
        """Return what counts a study as complete."""
        return AggregateStep(
            database=self._app.database,
            clock=self._app.clock,
            policies={c.id: c.settle for c in self._app.configuration.channels},
            acquisition_modalities=acquisition_modalities(),
        )

    def _chores(self) -> list[Chore]:
        """Return the work before delivery that has no row in the queue."""
        chores = [
            Chore(DESCRIBE, self.describer.describe_some, then=AGGREGATE),
            Chore(SEAL, Sealing(self._app.database, self._app.clock), then=SEAL),
        ]
        if not self._app.database.is_sqlite:
            cut = ScheduledCut(self._app.database, self._app.clock)
            chores.append(Chore(CUT, cut.cut_some, then=CUT))
        return chores + self._commitment_chores()

    def _commitment_chores(self) -> list[Chore]:
        """Return the work on requests for storage commitment.

        It goes on where no more are taken: what waits is told or given up, and until then keeps
        its studies from being pruned.
        """
        app, telling = self._app, self._app.telling_far
        settings = app.configuration.site.receiver.storage_commitment
        upkeep = CommitmentUpkeep(app.database, app.clock, settings)
        threads = min(len(telling.reporters), _MOST_TELLING)
        return [
            Chore(COMMIT, app.commitments.work_some, then=TELL),
            Chore(COMMIT_UPKEEP, upkeep.do_some, then=COMMIT_UPKEEP),
            *(Chore(TELL, telling.tell_some, then=TELL) for _ in range(threads)),
        ]

    def _asks(self, archive: Archive) -> Chore:
        """Return what asks a PACS to promise that it keeps what it was sent."""
        app = self._app
        asking = Asking(
            database=app.database,
            clock=app.clock,
            retry=app.configuration.site.retry,
            archive=archive,
            scu=CommitmentScu(archive.destination, archive.commitment),
            hearing=app.hearing,
        )
        name = f"{ASK}-{archive.name}"
        return Chore(name, asking.ask_some, then=name)

    def scheduled_prune(self) -> ScheduledPrune:
        """Return what removes the files of old studies, and those that are to go anyway."""
        by = Pruner(self._app.receiver)
        prune = Prune(self._app.database, self._app.files, self._app.clock, by)
        return ScheduledPrune(prune, self._app.configuration.site.retention)

    def scheduled_removals(self) -> dict[str, ScheduledRemoval]:
        """Return what removes old rows, by the names of the chores; what the site wants of it."""
        app, by = self._app, Pruner(self._app.receiver)
        keep = app.configuration.site.retention
        wanted: dict[str, tuple[Removal | AuditRemoval, float | None]] = {
            PRUNE_HEADERS: (Removal(app.database, app.clock, by, Headers()), keep.headers_days),
            PRUNE_ATTEMPTS: (Removal(app.database, app.clock, by, Attempts()), keep.attempts_days),
            PRUNE_AUDIT: (AuditRemoval(app.database, app.clock, by), keep.audit_days),
        }
        return {
            name: ScheduledRemoval(removal, days)
            for name, (removal, days) in wanted.items()
            if days is not None
        }

    def _in_turn(self, destination: AnyDestination) -> StepFunction:
        """Return what delivers to a destination once those before it have the study."""
        deliver = self.delivery(destination)
        if not destination.after:
            return deliver
        announce = None
        if isinstance(deliver, FhirDelivery) and deliver.destination.announce:
            announce = deliver.announce
        awaited = frozenset(n for n, one in self._app.asked.items() if one.commitment.awaited)
        return AfterOthers(self._app.database, destination.after, deliver, announce, awaited)

    def delivery(self, destination: AnyDestination) -> Deliver:
        """Return what delivers to a destination."""
        if isinstance(destination, FhirDestination):
            client = FhirClient(destination, clock=self._app.clock)
            self._clients.append(client)
            wanted = destination.publish
            address = wanted.wado_rs or self._app.configuration.site.web.images_url
            endpoint = wado_rs_endpoint(address, destination.release) if address else None
            return FhirDelivery(
                database=self._app.database,
                destination=destination,
                client=client,
                clock=self._app.clock,
                endpoint=endpoint,
                lease_seconds=self._app.configuration.site.lease_seconds,
                guard=Turn(self._app.database, f"shared at {destination.base_url}"),
            )
        scu = StorageScu(destination, idle_seconds=destination.idle_seconds)
        self._scus.append(scu)
        return DicomDelivery(
            database=self._app.database,
            clock=self._app.clock,
            files=self._app.files,
            scu=scu,
            lease_seconds=self._app.configuration.site.lease_seconds,
        )

    def _hang_up(self) -> int:
        """End the associations that had nothing to do for long enough."""
        return sum(scu.end_idle() for scu in self._scus)

    def close(self) -> None:
        """Let go of the far sides."""
        for client in self._clients:
            client.close()
        for scu in self._scus:
            scu.close()
