"""Puts the parts of a site together."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.aggregate.settle import first_look_seconds
from intu_fhir.aggregate.step import AggregateStep
from intu_fhir.app.committing import CommitmentResults
from intu_fhir.build.imaging_study import BuildContext
from intu_fhir.build.step import BuildStep, ChannelPlan
from intu_fhir.build.transform import load_transformer
from intu_fhir.db import migrate
from intu_fhir.db.instances import InstanceWriter, NewInstance, StagedAs
from intu_fhir.db.session import Database
from intu_fhir.db.studies import load_headers
from intu_fhir.deliver.commitment import CommitmentReporter
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.deliver.step import DicomDelivery, FhirDelivery
from intu_fhir.engines.local import Chore, LocalEngine
from intu_fhir.files.local import LocalFileStore
from intu_fhir.mappings import acquisition_modalities, attributes_of, load_mapping
from intu_fhir.model.study import Study
from intu_fhir.model.work import AGGREGATE, BUILD, DELIVER
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.pipeline.record import Recorder
from intu_fhir.pipeline.runner import Lane, Runner, StepFunction
from intu_fhir.receive.reporting import OpenRequesters
from intu_fhir.receive.sop_classes import STORAGE_CLASSES
from intu_fhir.settings.schema import (
    AnyDestination,
    Channel,
    Configuration,
    FhirDestination,
)
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commit import GroupCommit
from intu_fhir.stage.commitments import Commitments
from intu_fhir.stage.describer import Describer
from intu_fhir.stage.encodings import Limits

DESCRIBE, COMMIT, TELL, TELL_HERE = "describe", "commit", "tell", "tell-here"
_MOST_CONNECTIONS = 40


@dataclass
class App:
    """A site: what its configuration asks for, made once and shared.

    Args:
        receiver: names this host's receiver in staging; stays the same over restarts.
        holder: names this process in leases.
    """

    configuration: Configuration
    clock: Clock = field(default_factory=SystemClock)
    receiver: str = field(default_factory=lambda: socket.gethostname()[:60])
    holder: str = field(
        default_factory=lambda: f"{socket.gethostname()[:32]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    )
    _clients: list[FhirClient] = field(default_factory=list)

    @cached_property
    def database(self) -> Database:
        """The staging database."""
        return Database(self.configuration.site.database, pool_size=_MOST_CONNECTIONS)

    @cached_property
    def files(self) -> LocalFileStore:
        """The file store."""
        return LocalFileStore(Path(self.configuration.site.files))

    @cached_property
    def rows(self) -> GroupCommit[NewInstance, StagedAs]:
        """The one writer of instance rows."""
        return GroupCommit(InstanceWriter(self.database, self.receiver))

    @cached_property
    def accept(self) -> Accept:
        """What stages one object, for the network and for the batch door."""
        return Accept(
            files=self.files,
            database=self.database,
            rows=self.rows,
            clock=self.clock,
            receiver=self.receiver,
            first_look_seconds={
                channel.id: first_look_seconds(channel.settle)
                for channel in self.configuration.channels
            },
            limits=Limits.of(self.configuration.site.receiver),
        )

    @cached_property
    def describer(self) -> Describer:
        """What stages complete headers."""
        limits = Limits.of(self.configuration.site.receiver)
        levels = attributes_of(plan.mapping for plan in self.build.plans.values()).levels
        return Describer(self.database, self.files, self.clock, levels, limits)

    @cached_property
    def build(self) -> BuildStep:
        """What builds resources, for publishing and for previews."""
        channels = self.configuration.channels
        plans = {channel.id: self.plan(channel) for channel in channels}
        return BuildStep(
            database=self.database,
            clock=self.clock,
            load_study=self.load_study,
            plans=plans,
            fallback=ChannelPlan("", load_mapping(None), None, {}),
            context=self.build_context(),
        )

    def build_context(self) -> BuildContext:
        """What a build needs to know of the site."""
        site = self.configuration.site
        fhir = [d for d in site.destinations.values() if isinstance(d, FhirDestination)]
        return BuildContext(
            time_zone=site.time_zone,
            identifiers=site.identifiers,
            max_instances=min((d.max_instances for d in fhir), default=5_000),
            max_body_bytes=min((d.max_body_bytes for d in fhir), default=1_000_000),
        )

    def plan(self, channel: Channel) -> ChannelPlan:
        """Return what a channel wants done with its studies."""
        return ChannelPlan(
            channel=channel.id,
            mapping=load_mapping(channel.mapping),
            transformer=load_transformer(channel.transformer) if channel.transformer else None,
            destinations=self.destinations(channel),
        )

    def destinations(self, channel: Channel) -> dict[str, AnyDestination]:
        """Return the destinations of a channel by name."""
        everywhere = self.configuration.site.destinations
        return {name: everywhere[name] for name in channel.destinations}

    def load_study(self, connection: Any, study_key: int, generation: int) -> tuple[Study, int]:
        """Read and merge what is staged of a study; return it with its revision."""
        headers = load_headers(
            connection, study_key, acquisition_modalities=acquisition_modalities()
        )
        study = merge_headers(
            headers.study_instance_uid, headers.series, headers.calling_ae_titles, generation
        )
        return study, headers.revision

    def engine(self) -> LocalEngine:
        """Return the worker threads of this site, not started."""
        site = self.configuration.site
        functions: dict[tuple[str, str], StepFunction] = {
            (AGGREGATE, ""): AggregateStep(
                database=self.database,
                clock=self.clock,
                policies={c.id: c.settle for c in self.configuration.channels},
                acquisition_modalities=acquisition_modalities(),
            ),
            (BUILD, ""): self.build,
        }
        lanes = [(Lane(AGGREGATE), 1), (Lane(BUILD), 1)]
        for name, destination in site.destinations.items():
            functions[DELIVER, name] = self.delivery(destination)
            limit = destination.limit
            lanes.append((Lane(DELIVER, name, limit), limit))
        chores = [Chore(DESCRIBE, self.describer.describe_some, then=AGGREGATE)]
        if site.receiver.storage_commitment.enabled:
            chores.append(Chore(COMMIT, self.commitments.check_some, then=TELL))
            chores.append(Chore(TELL, self.commitment_results.tell_far, then=TELL))
        return LocalEngine(self.runner(functions), lanes, chores)

    def receiving_engine(self) -> LocalEngine:
        """Return what works beside the listeners of a process, not started."""
        told = self.commitment_results.tell_here
        return LocalEngine(self.runner({}), [], [Chore(TELL_HERE, told, then=TELL_HERE)])

    def runner(self, functions: dict[tuple[str, str], StepFunction]) -> Runner:
        """Return what runs the work of the queue."""
        site = self.configuration.site
        return Runner(
            database=self.database,
            clock=self.clock,
            functions=functions,
            recorder=Recorder(site.retry),
            retry=site.retry,
            holder=self.holder,
            lease_seconds=site.lease_seconds,
        )

    @cached_property
    def requesters(self) -> OpenRequesters:
        """Associations of this process on which results of storage commitment can be told."""
        return OpenRequesters()

    @cached_property
    def commitments(self) -> Commitments:
        """What takes and checks requests for storage commitment."""
        return Commitments(
            database=self.database,
            files=self.files,
            clock=self.clock,
            receiver=self.receiver,
            limits=self.configuration.site.receiver.storage_commitment,
            supported=STORAGE_CLASSES,
        )

    @cached_property
    def commitment_results(self) -> CommitmentResults:
        """What tells results of storage commitment."""
        settings = self.configuration.site.receiver.storage_commitment
        return CommitmentResults(
            database=self.database,
            clock=self.clock,
            settings=settings,
            retry=self.configuration.site.retry,
            reporters={
                title: CommitmentReporter(requester, settings.timeout_seconds)
                for title, requester in settings.requesters.items()
            },
            requesters=self.requesters,
        )

    def delivery(self, destination: AnyDestination) -> StepFunction:
        """Return what delivers to a destination."""
        if isinstance(destination, FhirDestination):
            client = FhirClient(destination, clock=self.clock)
            self._clients.append(client)
            return FhirDelivery(self.database, destination, client)
        return DicomDelivery(
            database=self.database,
            clock=self.clock,
            files=self.files,
            scu=StorageScu(destination),
            lease_seconds=self.configuration.site.lease_seconds,
        )

    def prepare_database(self) -> None:
        """Make a new database ready; one that exists must be at the newest revision.

        Raises:
            ConfigurationError: it is at another revision; the message says what to do.
        """
        url = self.configuration.site.database
        if migrate.current(url) is None:
            migrate.upgrade(url)
        migrate.require_head(url)

    def close(self) -> None:
        """Let go of the far sides, the database and the file store."""
        for client in self._clients:
            client.close()
        self.database.close()
        if "files" in vars(self):  # who never asked for it has nothing to close
            self.files.close()


def open_app(configuration: Configuration, clock: Clock | None = None) -> App:
    """Return the site of a configuration, with its database ready.

    Raises:
        ConfigurationError: the database is not at the newest revision, or a mapping or hook
            cannot be loaded.
    """
    app = App(configuration, clock or SystemClock())
    app.prepare_database()
    return app
