"""Delivery of instances to a PACS by C-STORE (PS3.4 annex B, PS3.7 9.1.1)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from intu_fhir.deliver.association import Association, Rejected
from intu_fhir.deliver.decoder import Decoder
from intu_fhir.deliver.idle import Idle
from intu_fhir.deliver.line import Batch, Line, batches
from intu_fhir.deliver.outcomes import rejected, sentence
from intu_fhir.deliver.sender import DAMAGED_FILE as DAMAGED_FILE
from intu_fhir.deliver.sender import FILE_AWAY as FILE_AWAY
from intu_fhir.deliver.sender import LOCKED_FILE as LOCKED_FILE
from intu_fhir.deliver.sender import NO_CONTEXT as NO_CONTEXT
from intu_fhir.deliver.sender import NO_FILE as NO_FILE
from intu_fhir.deliver.sender import NOT_EDITED as NOT_EDITED
from intu_fhir.deliver.sender import NOT_TRANSCODED as NOT_TRANSCODED
from intu_fhir.deliver.sender import CutShort, Sender
from intu_fhir.deliver.stored import ObjectToSend as ObjectToSend
from intu_fhir.deliver.tally import NO_ANSWER, Tally
from intu_fhir.deliver.tls import tls_context
from intu_fhir.deliver.transport import Aborted, Broken, NotConnected, Stopped
from intu_fhir.deliver.upper_layer import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
    Accepted,
    BadAnswer,
    Context,
)
from intu_fhir.model.outcome import Dead, Delivered, InstanceOutcome, Retry
from intu_fhir.settings.schema import DicomDestination

LONGEST_USE_SECONDS = 60.0
"""Some PACS look at what they got once the association ends, so it has to, under any load."""


class StorageScu:
    """Sends instances to one PACS; any number of threads may share it.

    Args:
        idle_seconds: how long an association that has nothing to do is kept for the next call;
            who gives more than 0 calls ``end_idle`` now and then, and ``close`` at the end.
        longest_use_seconds: an association that is older serves no further study.

    Raises:
        ConfigurationError: a key or certificate of the destination cannot be used.
    """

    def __init__(
        self,
        destination: DicomDestination,
        *,
        idle_seconds: float = 0.0,
        longest_use_seconds: float = LONGEST_USE_SECONDS,
    ) -> None:
        self._destination, self._longest_use = destination, longest_use_seconds
        self._changes = destination.edits.by_tag()
        self._tls = tls_context(destination.tls) if destination.tls else None
        self._lines = Idle[Line](idle_seconds, lambda line: line.association.release())
        self._decoders = Idle[Decoder](idle_seconds, Decoder.close)

    @property
    def timeout_seconds(self) -> float:
        """How long one exchange with the PACS may take."""
        return self._destination.timeout_seconds

    def end_idle(self) -> int:
        """End what nobody has used for long enough; return how much that was."""
        return self._lines.end_old() + self._decoders.end_old()

    def close(self) -> None:
        """End what is kept; safe to call twice."""
        self._lines.close()
        self._decoders.close()

    def send(
        self,
        objects: Sequence[ObjectToSend],
        on_answer: Callable[[InstanceOutcome], None],
        *,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> Delivered | Retry | Dead:
        """Send instances, each in its own transfer syntax and as it is stored.

        But for ``edits`` and ``transcode`` of the destination. Where an association ends early,
        sending stops: what was answered stands, the next call goes on with the rest, on a new
        association.

        Args:
            on_answer: told every answer as it comes.
            keep_going: asked before each instance and now and then within a large one.
        """
        tally = Tally(on_answer)
        decoder = self._decoders.take() or Decoder()
        try:
            for batch in batches(objects, transcode=self._destination.transcode != "never"):
                ended = self._send_batch(batch, tally, decoder, keep_going)
                if ended is not None:
                    return ended
                if tally.gave_up:
                    break
        finally:
            self._decoders.keep(decoder)
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
            return self._rejected(error), ""
        except (NotConnected, Broken, BadAnswer) as error:
            return Retry(NO_ANSWER, self._where(error)), ""
        if status == 0:
            return Delivered("0000"), accepted.implementation_class_uid
        return Retry(f"{status:04X}", f"The PACS answers C-ECHO with {status:04X}"), ""

    def _send_batch(
        self, batch: Batch, tally: Tally, decoder: Decoder, keep_going: Callable[[], bool]
    ) -> Retry | Dead | None:
        """Send a batch, on a second association where the first was of no use to its end."""
        left, kept = deque(batch.objects), True
        while left and not tally.gave_up:
            line = self._line(batch, keep_going, kept=kept)
            if not isinstance(line, Line):
                return line
            sender = Sender(line, left, tally, keep_going, self._changes, decoder)
            try:
                sender.send_all()
            except CutShort:
                line.association.abort()
            except (Broken, BadAnswer, Stopped) as error:
                line.association.abort()
                if not _was_gone(error, sender):
                    return tally.interrupted(self._place, str(error), self._remedy(error))
                tally.in_hand, kept = "", False
            except BaseException:
                line.association.abort()
                raise
            else:
                self._keep(line, tally)
        return None

    def _line(
        self, batch: Batch, keep_going: Callable[[], bool], *, kept: bool
    ) -> Line | Retry | Dead:
        """Return an association that fits a batch: one that was kept, or a new one."""
        line = self._kept_line(batch, keep_going) if kept else None
        if line is not None:
            return line
        try:
            association, accepted = self._associate(batch.contexts, keep_going)
        except Rejected as error:
            return self._rejected(error)
        except Stopped as error:
            return Retry(NO_ANSWER, self._where(error))
        except (NotConnected, Broken, BadAnswer) as error:
            return Retry(NO_ANSWER, self._where(error), silent=True)
        return Line(association, batch.contexts, accepted, time.monotonic())

    def _kept_line(self, batch: Batch, keep_going: Callable[[], bool]) -> Line | None:
        line = self._lines.take(lambda line: line.fits(batch))
        if line is None:
            # Who opens one ends one: together no more are open than studies may be on their way.
            other = self._lines.take()
            if other is not None:
                other.association.release()
            return None
        if line.association.resume(keep_going):
            line.is_reused = True
            return line
        line.association.abort()
        return None

    def _keep(self, line: Line, tally: Tally) -> None:
        """Keep an association for the next study, unless it is better that it ends."""
        if tally.gave_up or time.monotonic() - line.opened_at > self._longest_use:
            line.association.release()
        else:
            self._lines.keep(line)

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

    def _rejected(self, error: Rejected) -> Retry | Dead:
        theirs, ours = self._place, self._destination.ae_title
        return rejected(error.result, error.source, error.reason, theirs=theirs, ours=ours)

    def _where(self, error: Exception) -> str:
        return sentence(f"{self._place}: {error}", remedy=self._remedy(error))

    @property
    def _place(self) -> str:
        to = self._destination
        return f"{to.called_ae_title} at {to.host}:{to.port}"

    def _remedy(self, error: Exception) -> str:
        """Return what a person may have to do: many PACS abort where they mean to reject."""
        if not isinstance(error, Aborted):
            return ""
        ours = self._destination.ae_title
        return f"if it does so each time, have {ours} and this machine's address entered there"


def _was_gone(error: Exception, sender: Sender) -> bool:
    """Say whether an association had ended before it was used again: nothing has failed then."""
    return isinstance(error, Broken) and sender.line.is_reused and not sender.answered
