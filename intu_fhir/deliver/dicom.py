"""Delivery of instances to a PACS by C-STORE (PS3.4 annex B, PS3.7 9.1.1)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from intu_fhir.deliver.association import Association, Rejected
from intu_fhir.deliver.edited import Changes, NotEditable
from intu_fhir.deliver.outcomes import (
    CONTEXT_RESULTS,
    Rule,
    Verdict,
    dimse_rule,
    rejected,
)
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.stored import (
    DAMAGED,
    DEFLATED,
    GONE,
    is_sound,
    not_edited,
    opened,
    unreadable,
)
from intu_fhir.deliver.stored import ObjectToSend as ObjectToSend
from intu_fhir.deliver.tally import NO_ANSWER, Tally
from intu_fhir.deliver.tls import tls_context
from intu_fhir.deliver.transport import Broken, NotConnected, Stopped
from intu_fhir.deliver.upper_layer import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    MAX_CONTEXTS,
    VERIFICATION,
    Accepted,
    BadAnswer,
    Context,
    Response,
)
from intu_fhir.errors import DamagedFile
from intu_fhir.model.outcome import Dead, Delivered, InstanceOutcome, Retry
from intu_fhir.settings.schema import DicomDestination

NO_CONTEXT = "no context"
NO_FILE = "no file"
DAMAGED_FILE = "damaged file"
NOT_EDITED = "not edited"


class StorageScu:
    """Sends instances to one PACS; any number of threads may share it.

    Raises:
        ConfigurationError: a key or certificate of the destination cannot be used.
    """

    def __init__(self, destination: DicomDestination) -> None:
        self._destination = destination
        self._changes = destination.edits.by_tag()
        self._tls = tls_context(destination.tls) if destination.tls else None

    def send(
        self,
        objects: Sequence[ObjectToSend],
        on_answer: Callable[[InstanceOutcome], None],
        *,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> Delivered | Retry | Dead:
        """Send instances, each in its own transfer syntax and as it is stored, but for ``edits``.

        Where an association ends early, sending stops: what was answered stands, the next call
        goes on with the rest, on a new association.

        Args:
            on_answer: told every answer as it comes.
            keep_going: asked before each instance and now and then within a large one.
        """
        tally = Tally(on_answer)
        for batch in _batches(objects):
            ended = self._send_batch(batch, tally, keep_going)
            if ended is not None:
                return ended
            if tally.gave_up:
                break
        return tally.outcome(len(objects))

    def echo(self) -> Delivered | Retry | Dead:
        """Ask the PACS whether it is there (C-ECHO, PS3.4 annex A)."""
        return self._echo()[0]

    def implementation(self) -> str:
        """Return the Implementation Class UID of who answers C-ECHO; empty = nobody does."""
        outcome, implementation = self._echo()
        return implementation if isinstance(outcome, Delivered) else ""

    def _echo(self) -> tuple[Delivered | Retry | Dead, str]:
        context = Context(1, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
        try:
            association, accepted = self._associate([context])
            try:
                if accepted.results.get(1) != 0:
                    association.abort()
                    return Dead(NO_CONTEXT, "The PACS does not offer Verification (C-ECHO)"), ""
                status = association.echo(1)
            except (Broken, BadAnswer):
                association.abort()
                raise
            association.release()
        except Rejected as error:
            return rejected(error.result, error.source, error.reason), ""
        except (NotConnected, Broken, BadAnswer) as error:
            return Retry(NO_ANSWER, self._where(str(error))), ""
        if status == 0:
            return Delivered("0000"), accepted.implementation_class_uid
        return Retry(f"{status:04X}", f"The PACS answers C-ECHO with {status:04X}"), ""

    def _send_batch(
        self, batch: _Batch, tally: Tally, keep_going: Callable[[], bool]
    ) -> Retry | Dead | None:
        """Send what fits into one association; None where it went through to its end."""
        try:
            association, accepted = self._associate(batch.contexts, keep_going)
        except Rejected as error:
            return rejected(error.result, error.source, error.reason)
        except Stopped as error:
            return Retry(NO_ANSWER, self._where(str(error)))
        except (NotConnected, Broken, BadAnswer) as error:
            return Retry(NO_ANSWER, self._where(str(error)), silent=True)
        sender = _Sender(association, batch, accepted, tally, keep_going, self._changes)
        try:
            sender.send_all()
        except (Broken, BadAnswer, Stopped) as error:
            association.abort()
            return tally.interrupted(str(error))
        except BaseException:
            association.abort()
            raise
        association.release()
        return None

    def _associate(
        self, contexts: Sequence[Context], keep_going: Callable[[], bool] = lambda: True
    ) -> tuple[Association, Accepted]:
        to = self._destination
        association = Association(
            (to.host, to.port),
            tls=self._tls,
            timeout_seconds=to.timeout_seconds,
            keep_going=keep_going,
        )
        try:
            return association, association.negotiate(to.ae_title, to.called_ae_title, contexts)
        except (Broken, BadAnswer, Stopped):
            association.abort()
            raise
        except Rejected:
            association.close()
            raise

    def _where(self, reason: str) -> str:
        to = self._destination
        return f"{to.called_ae_title} at {to.host}:{to.port}: {reason}"


@dataclass(frozen=True)
class _Batch:
    """What goes over one association."""

    contexts: list[Context]
    objects: list[ObjectToSend]

    def contexts_by_syntax(self) -> dict[tuple[str, str], int]:
        return {(c.abstract_syntax, c.transfer_syntax): c.context_id for c in self.contexts}


def _batches(objects: Sequence[ObjectToSend]) -> Iterator[_Batch]:
    """Split by presentation contexts: an association has 128 at most (PS3.8 9.3.2.2)."""
    syntaxes = list(dict.fromkeys(one.syntax for one in objects))
    for begin in range(0, len(syntaxes), MAX_CONTEXTS):
        some = syntaxes[begin : begin + MAX_CONTEXTS]
        chosen = set(some)
        contexts = [
            Context(context_id, *syntax)
            for context_id, syntax in zip(itertools.count(1, 2), some, strict=False)
        ]
        yield _Batch(contexts, [one for one in objects if one.syntax in chosen])


@dataclass
class _Sender:
    """Sends the instances of one association, one after the other."""

    association: Association
    batch: _Batch
    accepted: Accepted
    tally: Tally
    keep_going: Callable[[], bool]
    changes: Changes

    def send_all(self) -> None:
        """Send until all are answered, or the PACS has had enough.

        Raises:
            Broken, BadAnswer, Stopped: the association cannot go on.
        """
        ids = self.batch.contexts_by_syntax()
        for one in self.batch.objects:
            if self.tally.gave_up:
                return
            if not self.keep_going():
                raise Stopped("sending was stopped")
            self._send(one, ids[one.syntax])

    def _send(self, one: ObjectToSend, context_id: int) -> None:
        result = self.accepted.results.get(context_id, 2)
        granted = self.accepted.transfer_syntaxes.get(context_id, "")
        if result != 0 or granted != one.transfer_syntax_uid:
            self.tally.add(one.sop_instance_uid, NO_CONTEXT, _context_rule(one, result))
            return
        try:
            response = self._store(one, context_id)
        except FileNotFoundError:
            self.tally.add(one.sop_instance_uid, NO_FILE, GONE)
            return
        except NotEditable as error:
            self.tally.add(one.sop_instance_uid, NOT_EDITED, not_edited(error))
            return
        if response is None:
            self.tally.add(one.sop_instance_uid, DAMAGED_FILE, DAMAGED)
            return
        rule = dimse_rule(response.status)
        said = scrub(response.comment)[:100]
        self.tally.add(one.sop_instance_uid, f"{response.status:04X}", rule, said)

    def _store(self, one: ObjectToSend, context_id: int) -> Response | None:
        """Send one instance; None where its file does not hold what was received."""
        try:
            stored = one.file.open("rb")
        except DamagedFile:
            return None
        with stored as file:
            if not is_sound(one, file):
                return None
            data_set, size = opened(one, file, self.changes)
            self.tally.in_hand = one.sop_instance_uid
            try:
                return self.association.store(
                    context_id,
                    one.sop_class_uid,
                    one.sop_instance_uid,
                    data_set,
                    size,
                    padding=b"\0" if size % 2 and one.transfer_syntax_uid == DEFLATED else b"",
                )
            except OSError as error:
                raise unreadable(error) from error


def _context_rule(one: ObjectToSend, result: int) -> Rule:
    """Say why an instance has no presentation context (PS3.8 table 9-18)."""
    reason = CONTEXT_RESULTS.get(result, f"result {result}") if result else "another syntax granted"
    return Rule(
        Verdict.DEAD,
        f"the PACS takes no {one.sop_class_uid} in {one.transfer_syntax_uid}: {reason}",
        "have it enabled at the PACS, then replay",
    )
