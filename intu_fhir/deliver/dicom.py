"""Delivery of instances to a PACS by C-STORE (PS3.4 annex B, PS3.7 9.1.1)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from intu_fhir.deliver.association import (
    Association,
    Broken,
    NotConnected,
    Rejected,
    Stopped,
)
from intu_fhir.deliver.outcomes import (
    CONTEXT_RESULTS,
    Rule,
    Verdict,
    dimse_rule,
    rejected,
    sentence,
)
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.tls import tls_context
from intu_fhir.deliver.upper_layer import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    MAX_CONTEXTS,
    VERIFICATION,
    Accepted,
    BadAnswer,
    Context,
    Response,
)
from intu_fhir.model.outcome import Dead, Delivered, InstanceOutcome, Retry
from intu_fhir.settings.schema import DicomDestination

NO_CONTEXT = "no context"
NO_ANSWER = "no answer"
NO_FILE = "no file"
_GIVE_UP_AFTER = 3
"""A PACS that is out of resources so many times running is left in peace for now."""


@dataclass(frozen=True, slots=True)
class ObjectToSend:
    """An instance in a Part 10 file.

    Args:
        data_set_offset: where the data set starts in the file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path
    data_set_offset: int

    @property
    def syntax(self) -> tuple[str, str]:
        """What a presentation context for it has to be."""
        return self.sop_class_uid, self.transfer_syntax_uid


class StorageScu:
    """Sends instances to one PACS; any number of threads may share it.

    Raises:
        ConfigurationError: a key or certificate of the destination cannot be used.
    """

    def __init__(self, destination: DicomDestination) -> None:
        self._destination = destination
        self._tls = tls_context(destination.tls) if destination.tls else None

    def send(
        self,
        objects: Sequence[ObjectToSend],
        on_answer: Callable[[InstanceOutcome], None],
        *,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> Delivered | Retry | Dead:
        """Send instances, each in its own transfer syntax and as it is stored.

        Where an association ends early, sending stops: what was answered stands, the next call
        goes on with the rest, on a new association.

        Args:
            on_answer: told every answer as it comes.
            keep_going: asked before each instance and now and then within a large one.
        """
        tally = _Tally(on_answer)
        for batch in _batches(objects):
            ended = self._send_batch(batch, tally, keep_going)
            if ended is not None:
                return ended
            if tally.gave_up:
                break
        return tally.outcome(len(objects))

    def echo(self) -> Delivered | Retry | Dead:
        """Ask the PACS whether it is there (C-ECHO, PS3.4 annex A)."""
        context = Context(1, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
        try:
            association, accepted = self._associate([context])
            try:
                if accepted.results.get(1) != 0:
                    return Dead(NO_CONTEXT, "The PACS does not offer Verification (C-ECHO)")
                status = association.echo(1)
            except (Broken, BadAnswer):
                association.abort()
                raise
            association.release()
        except Rejected as error:
            return rejected(error.result, error.source, error.reason)
        except (NotConnected, Broken, BadAnswer) as error:
            return Retry(NO_ANSWER, self._where(str(error)))
        if status == 0:
            return Delivered("0000")
        return Retry(f"{status:04X}", f"The PACS answers C-ECHO with {status:04X}")

    def _send_batch(
        self, batch: _Batch, tally: _Tally, keep_going: Callable[[], bool]
    ) -> Retry | Dead | None:
        """Send what fits into one association; None where it went through to its end."""
        try:
            association, accepted = self._associate(batch.contexts, keep_going)
        except Rejected as error:
            return rejected(error.result, error.source, error.reason)
        except (NotConnected, Broken, BadAnswer, Stopped) as error:
            return Retry(NO_ANSWER, self._where(str(error)))
        sender = _Sender(association, batch, accepted, tally, keep_going)
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
        return sentence(
            f"{to.called_ae_title} at {to.host}:{to.port}: {reason}", "", "it is tried again"
        )


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
class _Tally:
    """Counts the answers of one call, and judges what came of it as a whole."""

    tell: Callable[[InstanceOutcome], None]
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    first: dict[Verdict, InstanceOutcome] = field(default_factory=dict)
    in_hand: str = ""
    refusals: int = 0

    @property
    def gave_up(self) -> bool:
        """Whether the PACS has no resources and is better left alone now."""
        return self.refusals >= _GIVE_UP_AFTER

    def add(self, uid: str, status: str, rule: Rule, said: str = "") -> None:
        """Take the outcome of one instance."""
        delivered = rule.verdict in {Verdict.DELIVERED, Verdict.WARNING}
        warning = rule.verdict is Verdict.WARNING
        plain = rule.verdict is Verdict.DELIVERED
        detail = "" if plain else sentence(rule.meaning, said, rule.remedy)
        outcome = InstanceOutcome(uid, status, delivered, warning, detail)
        self.verdicts[rule.verdict] += 1
        self.first.setdefault(rule.verdict, outcome)
        self.refusals = self.refusals + 1 if rule.verdict is Verdict.RETRY else 0
        self.in_hand = ""
        self.tell(outcome)

    def interrupted(self, reason: str) -> Retry:
        """Return the outcome of a call whose association ended early."""
        if self.in_hand:
            uid = self.in_hand
            self.add(uid, NO_ANSWER, Rule(Verdict.RETRY, reason))
            return Retry(
                NO_ANSWER, f"{reason}, with instance {uid} in hand; the rest is sent again later"
            )
        return Retry(NO_ANSWER, f"{reason}; the rest is sent later")

    def outcome(self, wanted: int) -> Delivered | Retry | Dead:
        """Return the outcome of a call that went through."""
        taken = self.verdicts[Verdict.DELIVERED] + self.verdicts[Verdict.WARNING]
        if taken == wanted:
            warned = self.first.get(Verdict.WARNING)
            count = self.verdicts[Verdict.WARNING]
            warning = f"{count} instances: {warned.status} {warned.detail}" if warned else ""
            status = warned.status if warned else "0000"
            return Delivered(status, f"{taken} instances", warning)
        # As long as something may still go through, the study is not a dead letter.
        verdict = Verdict.RETRY if taken + self.verdicts[Verdict.DEAD] < wanted else Verdict.DEAD
        verdict = Verdict.RETRY if self.verdicts[Verdict.RETRY] else verdict
        worst = self.first[verdict]
        detail = (
            f"{wanted - taken} of {wanted} instances not taken; the first is "
            f"{worst.sop_instance_uid}: {worst.status} {worst.detail}"
        )
        return (Retry if verdict is Verdict.RETRY else Dead)(worst.status, detail)


@dataclass
class _Sender:
    """Sends the instances of one association, one after the other."""

    association: Association
    batch: _Batch
    accepted: Accepted
    tally: _Tally
    keep_going: Callable[[], bool]

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
            rule = Rule(Verdict.DEAD, "the stored file is gone", "restore the file store, replay")
            self.tally.add(one.sop_instance_uid, NO_FILE, rule)
            return
        rule = dimse_rule(response.status)
        said = scrub(response.comment)[:100]
        self.tally.add(one.sop_instance_uid, f"{response.status:04X}", rule, said)

    def _store(self, one: ObjectToSend, context_id: int) -> Response:
        with one.path.open("rb") as file:
            size = file.seek(0, 2) - one.data_set_offset
            file.seek(one.data_set_offset)
            self.tally.in_hand = one.sop_instance_uid
            try:
                return self.association.store(
                    context_id, one.sop_class_uid, one.sop_instance_uid, file, size
                )
            except OSError as error:
                raise Broken(f"the stored file cannot be read ({error.strerror})") from error


def _context_rule(one: ObjectToSend, result: int) -> Rule:
    """Say why an instance has no presentation context (PS3.8 table 9-18)."""
    reason = CONTEXT_RESULTS.get(result, f"result {result}") if result else "another syntax granted"
    return Rule(
        Verdict.DEAD,
        f"the PACS takes no {one.sop_class_uid} in {one.transfer_syntax_uid}: {reason}",
        "have it enabled at the PACS, then replay",
    )
