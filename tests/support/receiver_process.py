"""Receivers in processes of their own, to be killed: ``python -m tests.support.receiver_process``.

The program loads the product once and then forks a receiver for each line of JSON that it reads,
so that a thousand restarts take minutes. What it prints, one JSON object a line: ``forked`` with
the process id, then ``port`` once that receiver listens, and the numbers of its threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.session import Database
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.model.instance import Accepted, ReceivedObject
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging
from intu_fhir.receive.listener import Listener
from intu_fhir.receive.slots import Slots
from intu_fhir.receive.sop_classes import STORAGE_CLASSES
from intu_fhir.settings.schema import Channel, DicomSource, Receiver
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.commit import GroupCommit
from intu_fhir.stage.commitments import Commitments
from intu_fhir.stage.ends import Ends
from intu_fhir.stage.handover import HandOver
from intu_fhir.stage.recover import recover
from intu_fhir.stage.rows import Rows, commit_rows
from tests.support import mutants
from tests.support.forking import fork_for_each_line, log_to, say

CHANNEL = "test"
RECEIVER = "receiver-under-test"
_FOR_EVER = contextlib.ExitStack()


@dataclass(frozen=True)
class Order:
    """What a receiver shall be.

    Args:
        log: where its log goes.
        mutant: how it breaks its promise, or ``""``.
        held: wait for a tracer before anything is done.
        wait_seconds: how long a sender waits for its row.
        name: what it is called in the rows of its associations.
        port: where it listens, beside others; 0 = on a port of its own.
    """

    database: str
    files: str
    log: str
    mutant: str = ""
    held: bool = False
    wait_seconds: float = 20.0
    name: str = RECEIVER
    port: int = 0


def main() -> None:
    """Fork a receiver for each order on standard input."""
    fork_for_each_line(lambda order: _run(Order(**order)))


def _run(order: Order) -> None:
    """Receive until killed."""
    log_to(order.log)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    configure_logging()
    if order.held:
        _wait_for_tracer()
    begun = time.monotonic()
    started = _start(order)
    say(**dataclasses.asdict(started), seconds=time.monotonic() - begun)
    while True:
        signal.pause()


def _wait_for_tracer() -> None:
    deadline = time.monotonic() + 20
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        if time.monotonic() > deadline:
            raise TimeoutError("no tracer came")
        time.sleep(0.002)


@dataclass(frozen=True)
class _Started:
    """What is told of a receiver that listens.

    Args:
        threads: the numbers that the system gave its threads.
        committing_thread: the one that stores rows.
        aside_thread: the one that stores what goes beside them.
    """

    port: int
    removed: int
    threads: list[int]
    committing_thread: int
    aside_thread: int


def _start(order: Order) -> _Started:
    """Put a receiver together as the application does, and start it."""
    clock = SystemClock()
    database = Database(order.database)
    if order.mutant in {mutants.NO_FILE_SYNC, mutants.NO_FOLDER_SYNC}:
        mutants.spoil_sync(order.mutant)
    if order.mutant == mutants.RETRY_SYNC:
        mutants.believe_a_second_sync()
    if order.mutant == mutants.RETRY_FOLDER_SYNC:
        mutants.believe_another_descriptor()
    if order.mutant == mutants.LATE_RESTORE:
        mutants.restore_late()
    if order.mutant == mutants.WEAK_COMMIT:
        mutants.weaken_commits(database)
    if order.mutant == mutants.TRUSTING:
        _FOR_EVER.enter_context(mutants.trust_lengths())
    if order.mutant == mutants.OPTIMIST:
        _FOR_EVER.enter_context(mutants.believe_in_completeness())
    if order.mutant == mutants.UNTIDY:
        mutants.leave_spool_files()
    files: LocalFileStore = mutants.file_store(order.mutant)(Path(order.files))
    removed = recover(database, files, order.name, clock.now())

    writer = InstanceWriter(database, order.name)
    kind: type[Rows] = GroupCommit
    if order.mutant == mutants.EARLY_COMMIT:
        kind = mutants.EarlyCommit
    rows = commit_rows(writer, wait_seconds=order.wait_seconds, kind=kind)
    committing = _number_of(rows.start)
    accept: Any = Accept(files, database, rows, clock, order.name, {CHANNEL: 30.0})
    # It starts with the first that it gets, too late to be traced.
    aside = _number_of(accept.asides.start)
    if order.mutant == mutants.ACK_FIRST:
        accept = mutants.AckFirst(accept)
    if order.mutant == mutants.HOPEFUL:
        accept = mutants.Hopeful(accept)

    ends = Ends(database, clock, order.name, settles=lambda _: True, noted=lambda: None)
    ends.start()
    limits = Receiver(min_free_bytes=0)
    requests = HandOver(
        _commitments(database, files, limits, order.name).take, "commitment-requests"
    )
    requests.start()
    source = DicomSource(type="dicom", port=1).model_copy(
        update={"port": order.port, "host": "127.0.0.1"}
    )
    listener = Listener(
        Channel(id=CHANNEL, source=source).model_copy(update={"source": source}),
        limits,
        accept=_Accept(accept),
        association_ended=ends,
        files=files,
        slots=Slots(limits.max_associations, limits.max_associations_per_address),
        clock=clock,
        commit=_Commit(requests),
        shares_port=order.port > 0,
    )
    listener.start()
    return _Started(listener.port, removed, _numbers(), committing, aside)


def _number_of(start: Callable[[], None]) -> int:
    """Start something that is one thread; return its number."""
    before = set(_numbers())
    start()
    (number,) = set(_numbers()) - before
    return number


def _numbers() -> list[int]:
    return [int(task.name) for task in Path("/proc/self/task").iterdir()]


def _commitments(
    database: Database, files: LocalFileStore, limits: Receiver, name: str
) -> Commitments:
    return Commitments(
        database=database,
        files=files,
        clock=SystemClock(),
        receiver=name,
        limits=limits.storage_commitment,
        supported=STORAGE_CLASSES,
    )


@dataclass(frozen=True)
class _Commit:
    requests: HandOver[CommitmentRequest]

    def __call__(self, request: CommitmentRequest) -> None:
        self.requests(request)


@dataclass(frozen=True)
class _Accept:
    accept: Any

    def __call__(self, received: ReceivedObject) -> Accepted:
        accepted: Accepted = self.accept(received)
        return accepted


if __name__ == "__main__":
    main()
