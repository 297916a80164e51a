"""Puts the parts of a site together; what works on received studies is in ``working``."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from intu_fhir.aggregate.settle import first_look_seconds
from intu_fhir.app.committing import CommitmentResults, TellingFar
from intu_fhir.app.hearing import Archive, Hearing, archives_of, count_from_zero
from intu_fhir.app.storing import open_files, uploader_of
from intu_fhir.app.telling import TellingHere
from intu_fhir.db import migrate
from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.session import Database, sqlite_folder
from intu_fhir.engines.local import Chore, LocalEngine
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.sync import sync_way_to
from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.model.extra import install
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.observe.summed import OtherProcesses
from intu_fhir.observe.tracing import NO_TRACING, Tracing
from intu_fhir.pipeline.breaker import Breakers
from intu_fhir.pipeline.clock_watch import ClockWatch
from intu_fhir.pipeline.record import Recorder
from intu_fhir.pipeline.runner import Runner, StepFunction
from intu_fhir.receive.rejections import Rejections
from intu_fhir.receive.reporting import OpenRequesters
from intu_fhir.receive.sop_classes import STORAGE_CLASSES
from intu_fhir.settings.schema import Configuration
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commitments import Commitments
from intu_fhir.stage.encodings import Limits
from intu_fhir.stage.handover import HandOver
from intu_fhir.stage.rows import Rows, commit_rows
from intu_fhir.stage.turns import Turns

if TYPE_CHECKING:
    from intu_fhir.stage.stored import HeadersAgain
    from intu_fhir.stage.uploads import Uploader

DESCRIBE, UPLOAD = "describe", "upload"
COMMIT, TELL, TELL_HERE, ASK = "commit", "tell", "tell-here", "ask"
COMMIT_UPKEEP = "commit-upkeep"
SEAL, PRUNE, HANG_UP, CUT = "seal", "prune", "hang-up", "cut"
PRUNE_HEADERS, PRUNE_ATTEMPTS, PRUNE_AUDIT = "prune-headers", "prune-attempts", "prune-audit"
_MOST_CONNECTIONS = 40


@dataclass
class App:
    """A site: what its configuration asks for, made once and shared.

    Args:
        receiver: names this host's receiver in staging; stays the same over restarts.
        holder: names this process in leases.
        others: what the other receiving processes of this one have counted.
    """

    configuration: Configuration
    clock: Clock = field(default_factory=SystemClock)
    receiver: str = field(default_factory=lambda: socket.gethostname()[:60])
    holder: str = field(
        default_factory=lambda: f"{socket.gethostname()[:32]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    )

    others: OtherProcesses = field(default_factory=OtherProcesses)

    @cached_property
    def database(self) -> Database:
        """The staging database."""
        return Database(self.configuration.site.database, pool_size=_MOST_CONNECTIONS)

    @cached_property
    def files(self) -> LocalFileStore:
        """The file store."""
        return open_files(self.configuration.site, self.database)

    @cached_property
    def uploader(self) -> Uploader | None:
        """What brings files from this machine into an object store, where there is one."""
        return uploader_of(self.configuration.site, self.files, self.database, self.clock)

    @cached_property
    def headers_again(self) -> HeadersAgain:
        """What reads complete headers from files, where retention has removed them."""
        from intu_fhir.stage.stored import HeadersAgain

        receiver = self.configuration.site.receiver
        return HeadersAgain(self.files, Limits.of(receiver), receiver.character_sets)

    @cached_property
    def places(self) -> dict[str, Callable[[], int]]:
        """What says how many bytes are free, for each thing that grows on this machine."""
        places = {"files": self.files.free_bytes}
        folder = sqlite_folder(self.configuration.site.database)
        if folder is not None:
            places["database"] = lambda: shutil.disk_usage(folder).free
        return places

    @cached_property
    def rows(self) -> Rows:
        """The one writer of instance rows.

        Raises:
            StoreUnavailable: the disk of a SQLite database fails.
        """
        self._lead_to_database()
        return commit_rows(InstanceWriter(self.database, self.receiver, self.files.spool))

    def _lead_to_database(self) -> None:
        """Put the folders that lead to a SQLite database on disk, before a row is promised.

        SQLite sees to the entries in the folder of the database, when it makes its log there.
        """
        file = self.database.engine.url.database
        if not self.database.is_sqlite or not file:
            return
        try:
            sync_way_to(Path(file).parent)
        except OSError as error:
            raise StoreUnavailable(
                f"The way to the staging database cannot be synced: {error.strerror}; mend the disk"
            ) from error

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
            character_sets=self.configuration.site.receiver.character_sets,
            turns=Turns(self.configuration.site.receiver.max_inflating),
        )

    def receiving_engine(self) -> LocalEngine:
        """Return what works beside the listeners of a process, not started."""
        chores = []
        if self.configuration.site.receiver.storage_commitment.enabled:
            # A watch of its own: a clock that is off keeps nobody from sending, so that a process
            # that only receives stays ready.
            watch = ClockWatch(self.database, self.clock, self.configuration.site.lease_seconds)
            telling = TellingHere(self.commitment_results, self.requesters, watch.is_right)
            chores.append(Chore(TELL_HERE, telling.tell_some, then=TELL_HERE))
        if self.uploader is not None:
            chores.append(Chore(UPLOAD, self.uploader.upload_some, then=UPLOAD))
        return LocalEngine(self.runner({}), [], chores)

    def runner(self, functions: dict[tuple[str, str], StepFunction]) -> Runner:
        """Return what runs the work of the queue."""
        site = self.configuration.site
        return Runner(
            database=self.database,
            clock=self.clock,
            functions=functions,
            recorder=Recorder(
                site.retry,
                self._archives(),
                Breakers(site.destinations, site.retry.max_seconds),
                {name: one.commitment.max_instances for name, one in self.asked.items()},
            ),
            retry=site.retry,
            holder=self.holder,
            lease_seconds=site.lease_seconds,
            tracing=self.tracing,
        )

    @cached_property
    def clock_watch(self) -> ClockWatch:
        """What says whether the clock of this machine may be worked by."""
        return ClockWatch(self.database, self.clock, self.configuration.site.lease_seconds)

    @cached_property
    def tracing(self) -> Tracing:
        """Where traces go.

        Raises:
            ConfigurationError: they are asked for, and what they need is not installed.
        """
        settings = self.configuration.site.tracing
        if settings.endpoint is None:
            return NO_TRACING
        try:
            # Optional, and not small: who traces nothing does without.
            from intu_fhir.observe.otlp import OtlpTracing
        except ImportError:
            raise ConfigurationError(
                f"traces need more packages; run {install('otel')}",
                key="tracing.endpoint",
            ) from None
        return OtlpTracing(settings, settings.endpoint, self.holder)

    def _archives(self) -> frozenset[str]:
        destinations = self.configuration.site.destinations
        return frozenset(name for name, one in destinations.items() if one.type == "dicom")

    @cached_property
    def asked(self) -> dict[str, Archive]:
        """The PACS that are asked to promise that they keep what they were sent, by name."""
        return archives_of(self.configuration.site)

    @cached_property
    def hearing(self) -> Hearing:
        """What takes their answers."""
        count_from_zero(self.asked)
        return Hearing(self.database, self.clock, self.configuration.site.retry, self.asked)

    @cached_property
    def requesters(self) -> OpenRequesters:
        """Associations of this process on which results of storage commitment can be told."""
        settings = self.configuration.site.receiver.storage_commitment
        return OpenRequesters(settings.requesters)

    @cached_property
    def rejections(self) -> Rejections:
        """Who was rejected lately by the listeners of this process."""
        return Rejections()

    @cached_property
    def commitments(self) -> Commitments:
        """What takes and checks requests for storage commitment."""
        return Commitments(
            database=self.database,
            files=self.files,
            clock=self.clock,
            receiver=self.receiver,
            limits=self.configuration.site.receiver.storage_commitment,
            supported=self._stored_classes(),
        )

    def _stored_classes(self) -> frozenset[str]:
        """Return the SOP classes that any channel takes."""
        channels = self.configuration.channels
        return STORAGE_CLASSES.union(*(one.source.private_sop_classes for one in channels))

    @cached_property
    def requests(self) -> HandOver[CommitmentRequest]:
        """What takes requests for storage commitment, one after another."""
        return HandOver(self.commitments.take, "commitment-requests")

    @cached_property
    def answers(self) -> HandOver[CommitmentAnswer]:
        """What takes results of storage commitment, one after another."""
        return HandOver(self.hearing, "commitment-answers")

    @cached_property
    def commitment_results(self) -> CommitmentResults:
        """What becomes of results of storage commitment."""
        return CommitmentResults(
            database=self.database,
            clock=self.clock,
            settings=self.configuration.site.receiver.storage_commitment,
            retry=self.configuration.site.retry,
        )

    @cached_property
    def telling_far(self) -> TellingFar:
        """What tells them to requesters that have an address."""
        from intu_fhir.deliver.commitment import CommitmentReporter

        settings = self.configuration.site.receiver.storage_commitment
        reporters = {
            title: CommitmentReporter(requester, settings.timeout_seconds)
            for title, requester in settings.requesters.items()
        }
        return TellingFar(self.commitment_results, reporters, self.requesters)

    def prepare_database(self) -> None:
        """Make a new database ready; one that exists must fit this version.

        Raises:
            ConfigurationError: it does not; the message says what to do.
        """
        url = self.configuration.site.database
        if migrate.current(url) is None:
            migrate.upgrade(url)
        migrate.require_fit(url)

    def close(self) -> None:
        """Let go of the database and the file store."""
        if "tracing" in vars(self):
            self.tracing.stop()
        self.database.close()
        if "files" in vars(self):  # who never asked for it has nothing to close
            self.files.close()


def open_app(configuration: Configuration, clock: Clock | None = None) -> App:
    """Return the site of a configuration, with its database ready.

    Raises:
        ConfigurationError: the database does not fit this version, or a mapping or hook cannot be
            loaded.
    """
    app = App(configuration, clock or SystemClock())
    app.prepare_database()
    return app
