"""From the command of a C-STORE to its answer: spool, accept, count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from intu_fhir.errors import Busy, IntuError, LimitPassed, StoreUnavailable
from intu_fhir.files.part10 import part10_head
from intu_fhir.files.store import FileStore, Spool, SpooledFile
from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import CommitmentRequest
from intu_fhir.model.instance import Disposition, Origin, ReceivedObject
from intu_fhir.model.uid import is_uid
from intu_fhir.observe import metrics
from intu_fhir.receive import statuses
from intu_fhir.receive.association import Message
from intu_fhir.receive.dimse import (
    SUCCESS,
    ActionRequest,
    Answer,
    EchoRequest,
    EventRequest,
    StoreRequest,
)
from intu_fhir.receive.ports import Accept, Commit, Hear
from intu_fhir.receive.space import STEP_BYTES, FreeSpace
from intu_fhir.receive.violation import AbortReason, ProtocolViolation

_log = structlog.get_logger("intu_fhir.receive")
_BEYOND_BYTES = 256 << 20
"""So much more is read of an object that is too large, so that its sender hears why."""
BYTES_PER_INSTANCE = 256
"""Of an Action Information: two UIDs of 64 bytes, the heads of item and elements, and some room."""
MAX_EVENT_BYTES = 8 << 20
"""Longest Event Information that is read; it comes from those alone whom we ask."""
_BESIDE_INSTANCES = 65_536


@dataclass(frozen=True, slots=True)
class Store:
    """Where the objects of a channel go."""

    files: FileStore
    accept: Accept
    free_space: FreeSpace
    max_object_bytes: int
    commit: Commit | None = None
    hear: Hear | None = None
    max_instances: int = 20_000

    def longest_information(self, request: ActionRequest | EventRequest) -> tuple[int, str]:
        """Return how long an Action or Event Information may be, and the setting behind that."""
        if isinstance(request, EventRequest):
            return MAX_EVENT_BYTES, ""
        most = self.max_instances * BYTES_PER_INSTANCE + _BESIDE_INSTANCES
        return most, "storage_commitment.max_instances"


class Intake:
    """Takes the messages of one association, one at a time.

    Args:
        origin: the association.
    """

    def __init__(self, store: Store, origin: Origin) -> None:
        self._store = store
        self._origin = origin
        self._spool: Spool | None = None
        self._information: Spool | None = None
        self._longest_information = (0, "")
        self._message: Message | None = None
        self._refusal: Answer | None = None
        self._cause = ""
        self._size = 0
        self._checkpoint = 0
        self._promised = 0
        self.counts: Counter[Disposition] = Counter()

    def begin(self, message: Message) -> None:
        """Take a command; its data set, if it has one, comes by ``write``."""
        self._message, self._refusal, self._cause = message, message.refusal, ""
        self._size, self._checkpoint = 0, min(STEP_BYTES, self._store.max_object_bytes)
        if message.refusal is None and isinstance(message.request, StoreRequest):
            self._open(message, message.request)
        elif message.refusal is None and isinstance(message.request, ActionRequest | EventRequest):
            self._open_information(message.request)

    def write(self, data: memoryview) -> None:
        """Take a piece of the data set: into the spool, or nowhere if it is refused.

        Raises:
            ProtocolViolation: a refused data set does not end.
        """
        self._size += len(data)
        if self._size > self._checkpoint:
            self._check_size()
        if self._spool is not None:
            try:
                self._spool.write(data)
            except StoreUnavailable as error:
                self._refuse(statuses.answer_to_error(error), str(error))
        elif self._information is not None:
            self._gather(self._information, data)

    def end(self) -> Answer:
        """Return the answer to the message, which is now complete."""
        message, self._message = self._message, None
        if message is None:
            return self._refusal or SUCCESS
        if isinstance(message.request, EchoRequest):
            answer = self._refusal or SUCCESS
        elif isinstance(message.request, StoreRequest):
            answer = self._finish(message, message.request)
        elif isinstance(message.request, ActionRequest):
            answer = self._commit(message)
        elif isinstance(message.request, EventRequest):
            answer = self._hear(message)
        else:
            answer = self._refusal or statuses.PROCESSING_FAILURE
        self._give_back()
        if answer is not SUCCESS:
            self._report(message, answer)
        return answer

    def discard(self) -> bool:
        """Drop an object that did not come to its end; True if there was one."""
        unfinished, self._message = self._message is not None, None
        self._drop_spool()
        return unfinished

    def _open_information(self, request: ActionRequest | EventRequest) -> None:
        """Keep an Action or Event Information on disk: many that do not end take no memory.

        An Event Information gets its space below the floor as well. It is short, comes from those
        alone whom we ask, and the promise in it lets files be pruned: refused where the disk is
        low, it would keep the disk low.
        """
        if isinstance(request, ActionRequest) and not self._has_space(STEP_BYTES):
            return
        self._longest_information = self._store.longest_information(request)
        try:
            self._information = self._store.files.open_spool(b"")
        except StoreUnavailable as error:
            self._refuse(statuses.RESOURCE_LIMITATION, str(error))

    def _gather(self, information: Spool, data: memoryview) -> None:
        """Keep a piece of an Action or Event Information, which is small beside any image."""
        longest, limit = self._longest_information
        if self._size > longest:
            cause = f"an Action or Event Information above {longest} bytes"
            self._refuse(statuses.RESOURCE_LIMITATION, cause, limit)
            return
        try:
            information.write(data)
        except StoreUnavailable as error:
            self._refuse(statuses.RESOURCE_LIMITATION, str(error))

    def _commit(self, message: Message) -> Answer:
        """Hand a request for storage commitment over; success means that it is durable."""
        information, self._information = self._information, None
        commit = self._store.commit
        if self._refusal is not None or information is None or commit is None:
            return self._refusal or statuses.PROCESSING_FAILURE
        try:
            read = _reader(information.finish())
            commit(CommitmentRequest(self._origin, message.context.transfer_syntax_uid, read))
        except Exception as error:  # noqa: BLE001  (the requester gets an answer in any case)
            self._note(error)
            return statuses.answer_to_commitment_error(error)
        finally:
            information.discard()
        return SUCCESS

    def _hear(self, message: Message) -> Answer:
        """Hand a result of storage commitment over; success means that it is durable."""
        information, self._information = self._information, None
        hear = self._store.hear
        if self._refusal is not None or information is None or hear is None:
            return self._refusal or statuses.PROCESSING_FAILURE
        origin, syntax = self._origin, message.context.transfer_syntax_uid
        titles = (origin.calling_ae_title, origin.called_ae_title)
        try:
            read = _reader(information.finish())
            hear(CommitmentAnswer(*titles, syntax, read))
        except Exception as error:  # noqa: BLE001  (the PACS gets an answer in any case)
            self._note(error)
            return statuses.answer_to_event_error(error)
        finally:
            information.discard()
        return SUCCESS

    def _note(self, error: Exception) -> None:
        # The text of a foreign error may hold a patient's values; its type cannot.
        self._cause = str(error) if isinstance(error, IntuError) else type(error).__name__
        if isinstance(error, LimitPassed | Busy):
            self._count_limit(error.limit)

    def _open(self, message: Message, request: StoreRequest) -> None:
        if not self._has_space(STEP_BYTES):
            return
        head = part10_head(
            request.sop_class_uid,
            request.sop_instance_uid,
            message.context.transfer_syntax_uid,
            calling_ae_title=self._origin.calling_ae_title,
            called_ae_title=self._origin.called_ae_title,
        )
        try:
            self._spool = self._store.files.open_spool(head)
        except StoreUnavailable as error:
            self._refuse(statuses.answer_to_error(error), str(error))

    def _check_size(self) -> None:
        """Every megabyte, look whether the object is too large or the disk too full.

        What is refused is read on, since its answer comes after its end (PS3.7 9.3.1): as far as
        an object may go, and a little farther if it was refused for going on so far.
        """
        limit = self._store.max_object_bytes
        is_too_large = self._refusal is statuses.OBJECT_TOO_LARGE
        most = limit + min(limit, _BEYOND_BYTES) if is_too_large else limit
        if self._spool is None and self._size > most:
            raise ProtocolViolation(
                f"a refused data set went on after {most} bytes",
                AbortReason.NOT_SPECIFIED,
                limit="" if is_too_large else "max_object_bytes",  # counted once for an object
            )
        if self._spool is not None and self._size > limit:
            self._refuse(statuses.OBJECT_TOO_LARGE, f"more than {limit} bytes", "max_object_bytes")
        elif self._promised:
            self._has_space(self._size - self._checkpoint + STEP_BYTES)
        self._checkpoint = max(self._size, min(self._size + STEP_BYTES, limit))

    def _has_space(self, size: int) -> bool:
        """Have space promised for what comes next; where there is none, refuse the message."""
        space = self._store.free_space
        if space.promise(size, used=self._promised):
            self._promised = size
            return True
        cause = f"less than min_free_bytes left for: {space.lowest}"
        is_object = self._message is not None and isinstance(self._message.request, StoreRequest)
        answer = statuses.LOW_ON_SPACE if is_object else statuses.RESOURCE_LIMITATION
        self._refuse(answer, cause, "min_free_bytes")
        return False

    def _give_back(self) -> None:
        promised, self._promised = self._promised, 0
        self._store.free_space.give_back(promised)

    def _finish(self, message: Message, request: StoreRequest) -> Answer:
        spool, self._spool = self._spool, None
        begun = time.monotonic()
        if self._refusal is not None or spool is None:
            answer, disposition = self._refusal or statuses.PROCESSING_FAILURE, None
        else:
            answer, disposition = self._accept(spool, message, request)
        channel = self._origin.channel
        self.counts[disposition or Disposition.REFUSED] += 1
        metrics.RECEIVE_OBJECTS.labels(channel, disposition or Disposition.REFUSED).inc()
        metrics.RECEIVE_BYTES.labels(channel).inc(self._size)
        metrics.RECEIVE_ACCEPT_SECONDS.labels(channel).observe(time.monotonic() - begun)
        return answer

    def _accept(
        self, spool: Spool, message: Message, request: StoreRequest
    ) -> tuple[Answer, Disposition | None]:
        """Hand the object over; only what comes back from there may be a success."""
        try:
            spooled = spool.finish()
            received = ReceivedObject(
                path=spooled.path,
                data_set_offset=spooled.data_set_offset,
                size=spooled.size,
                sha256=spooled.sha256,
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                transfer_syntax_uid=message.context.transfer_syntax_uid,
                origin=self._origin,
                data_set=spooled.data_set,
            )
            accepted = self._store.accept(received)
        except Exception as error:  # noqa: BLE001  (the sender gets an answer, whatever happened)
            spool.discard()
            self._note(error)
            return statuses.answer_to_error(error), None
        self._cause = accepted.reason
        return statuses.answer_to_accepted(accepted), accepted.disposition

    def _refuse(self, answer: Answer, cause: str, limit: str = "") -> None:
        self._refusal, self._cause = answer, cause
        self._drop_spool()
        if limit:
            self._count_limit(limit)

    def _count_limit(self, limit: str) -> None:
        metrics.RECEIVE_LIMITS.labels(self._origin.channel, limit).inc()

    def _drop_spool(self) -> None:
        spools = self._spool, self._information
        self._spool = self._information = None
        for spool in filter(None, spools):
            spool.discard()
        self._give_back()

    def _report(self, message: Message, answer: Answer) -> None:
        status = f"{answer.status:04X}"
        metrics.RECEIVE_REFUSALS.labels(self._origin.channel, status).inc()
        request = message.request
        uid = request.sop_instance_uid if isinstance(request, StoreRequest) else ""
        _log.warning(
            "object_refused" if isinstance(request, StoreRequest) else "request_refused",
            channel=self._origin.channel,
            association=self._origin.association_id,
            calling_ae_title=self._origin.calling_ae_title,
            status=status,
            answer=answer.comment,
            detail=self._cause,
            instance=uid if is_uid(uid) else "",
        )


def _reader(spooled: SpooledFile) -> Callable[[], bytes]:
    """Return what reads a spooled data set when it is wanted."""

    def read() -> bytes:
        if spooled.data_set is not None:
            return spooled.data_set
        try:
            return spooled.path.read_bytes()
        except OSError as error:
            raise StoreUnavailable("What was sent cannot be read back from the spool") from error

    return read
