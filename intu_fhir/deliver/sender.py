"""Sends instances over one association, one after the other (PS3.4 annex B)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from intu_fhir.deliver.association import Source
from intu_fhir.deliver.decoder import Decoder
from intu_fhir.deliver.edited import Changes, NotEditable
from intu_fhir.deliver.explicit_vr import NotConvertible
from intu_fhir.deliver.line import Agreed, Line
from intu_fhir.deliver.outcomes import (
    NO_SUCH_CLASS,
    SOP_CLASS_NOT_SUPPORTED,
    Rule,
    Verdict,
    dimse_rule,
)
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.stored import (
    DAMAGED,
    DEFLATED,
    GONE,
    LOCKED,
    NotNow,
    ObjectToSend,
    is_sound,
    name_of,
    not_converted,
    not_edited,
    not_now,
    opened,
    unreadable,
)
from intu_fhir.deliver.tally import Tally
from intu_fhir.deliver.transport import Stopped
from intu_fhir.deliver.uncompressed import Conversion, UncompressedDataSet
from intu_fhir.deliver.upper_layer import Response
from intu_fhir.errors import DamagedFile, StoreUnavailable, UnknownKey

NO_CONTEXT = "no context"
NO_FILE = "no file"
FILE_AWAY = "file away"
DAMAGED_FILE = "damaged file"
LOCKED_FILE = "locked file"
NOT_EDITED = "not edited"
NOT_TRANSCODED = "not transcoded"


class CutShort(Exception):
    """An instance could not be sent to its end: the association is of no use any more."""


@dataclass
class Sender:
    """Sends what is ``left``; what is answered, or cannot be sent, is left no longer.

    Args:
        answered: how many answers the peer has given here.
    """

    line: Line
    left: deque[ObjectToSend]
    tally: Tally
    keep_going: Callable[[], bool]
    changes: Changes
    decoder: Decoder
    answered: int = 0

    def send_all(self) -> None:
        """Send until all are answered, or the PACS has had enough.

        Raises:
            Broken, BadAnswer, Stopped, CutShort: the association cannot go on.
        """
        while self.left and not self.tally.gave_up:
            if not self.keep_going():
                raise Stopped("sending was stopped")
            self._send(self.left[0])
            self.left.popleft()

    def _send(self, one: ObjectToSend) -> None:
        agreed, uid = self.line.agreed(one), one.sop_instance_uid
        if isinstance(agreed, str):
            self.tally.add(uid, NO_CONTEXT, _no_context(one, agreed))
            return
        try:
            response = self._store(one, agreed)
        except FileNotFoundError:
            self.tally.add(uid, NO_FILE, GONE)
        except UnknownKey:
            self.tally.add(uid, LOCKED_FILE, LOCKED)
        except NotEditable as error:
            self.tally.add(uid, NOT_EDITED, not_edited(error))
        except NotConvertible as error:
            self._skip(one, NOT_TRANSCODED, not_converted(one.transfer_syntax_uid, error))
        except (NotNow, StoreUnavailable) as error:
            self._skip(one, FILE_AWAY, not_now(error))
        else:
            self._take(one, agreed, response)

    def _skip(self, one: ObjectToSend, status: str, rule: Rule) -> None:
        """Go on with the next one; on another association where this one was begun."""
        begun = bool(self.tally.in_hand)
        self.tally.add(one.sop_instance_uid, status, rule)
        if begun:
            self.left.popleft()
            raise CutShort from None

    def _take(self, one: ObjectToSend, agreed: Agreed, response: Response | None) -> None:
        if response is None:
            self.tally.add(one.sop_instance_uid, DAMAGED_FILE, DAMAGED)
            return
        self.answered += 1
        granted = agreed.transfer_syntax_uid
        self.tally.add(
            one.sop_instance_uid,
            f"{response.status:04X}",
            _of_class(one, response.status),
            scrub(response.comment)[:100],
            granted if granted != one.transfer_syntax_uid else "",
        )

    def _store(self, one: ObjectToSend, agreed: Agreed) -> Response | None:
        """Send one instance; None where its file does not hold what was received."""
        try:
            stored = one.file.open("rb")
        except (UnknownKey, FileNotFoundError):  # they say nothing of the bytes
            raise
        except DamagedFile:
            return None
        except OSError as error:
            raise unreadable(error) from error
        with stored as file:
            if not is_sound(one, file):
                return None
            data_set, size = self._opened(one, agreed.transfer_syntax_uid, file)
            pads = size % 2 and agreed.transfer_syntax_uid == DEFLATED
            self.tally.in_hand = one.sop_instance_uid
            try:
                return self.line.association.store(
                    agreed.context_id,
                    one.sop_class_uid,
                    one.sop_instance_uid,
                    data_set,
                    size,
                    padding=b"\0" if pads else b"",
                )
            except OSError as error:
                raise unreadable(error) from error

    def _opened(
        self, one: ObjectToSend, transfer_syntax_uid: str, file: BinaryIO
    ) -> tuple[Source, int]:
        if transfer_syntax_uid == one.transfer_syntax_uid:
            return opened(one, file, self.changes)
        conversion = Conversion(one.transfer_syntax_uid, transfer_syntax_uid, self.changes)
        try:
            made = UncompressedDataSet(
                file, one.data_set_offset, conversion, self.decoder, self.keep_going
            )
        except OSError as error:
            raise unreadable(error) from error
        return made, made.size


def _no_context(one: ObjectToSend, reason: str) -> Rule:
    what = name_of(one.sop_class_uid)
    if reason != NO_SUCH_CLASS:
        what = f"{what} in {name_of(one.transfer_syntax_uid)}"
    return Rule(
        Verdict.DEAD,
        f"the PACS takes no {what}: {reason}",
        "have it enabled at the PACS, then replay",
    )


def _of_class(one: ObjectToSend, status: int) -> Rule:
    """Return the row of a status, with the name of the SOP class where that is what is refused."""
    rule = dimse_rule(status)
    if status != SOP_CLASS_NOT_SUPPORTED:
        return rule
    return replace(rule, meaning=f"the PACS takes no {name_of(one.sop_class_uid)}: {rule.meaning}")
