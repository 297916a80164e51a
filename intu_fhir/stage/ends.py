"""Notes how associations ended, beside the associations: a slow database holds none of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from intu_fhir.db.associations import end_association, look_at_studies_now
from intu_fhir.db.session import Database
from intu_fhir.errors import PermanentError, TransientError
from intu_fhir.model.instance import Disposition, Origin
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.stage")
MAX_WAITING = 10_000
_AT_A_TIME = 100
_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _End:
    origin: Origin
    reason: str
    counts: Mapping[Disposition, int]
    at: datetime


class Ends:
    """One thread that writes ends down, and tries again while the database does not answer.

    An association whose end is never written, because the process died first, is closed as lost
    at the next start; its studies settle by quiet time.

    Args:
        receiver: names this receiver in staging.
        settles: by channel id, whether the studies of an association are judged at its end.
        noted: called after ends were written.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        receiver: str,
        *,
        settles: Callable[[str], bool],
        noted: Callable[[], None],
    ) -> None:
        self._database, self._clock, self._receiver = database, clock, receiver
        self._settles, self._noted = settles, noted
        self._waiting: deque[_End] = deque()
        self._something = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="association-ends", daemon=True)

    def start(self) -> None:
        """Begin to write ends down."""
        self._thread.start()

    def stop(self) -> None:
        """Write down what is there, if the database lets it, and end."""
        self._stopping.set()
        self._something.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def __call__(self, origin: Origin, reason: str, counts: Mapping[Disposition, int]) -> None:
        """Take note of an end; returns at once."""
        if len(self._waiting) >= MAX_WAITING:
            self._give_up([origin.association_id], "too many ends wait for the database")
            return
        self._waiting.append(_End(origin, reason, counts, self._clock.now()))
        self._something.set()

    def _run(self) -> None:
        while not (self._stopping.is_set() and not self._waiting):
            self._something.wait()
            self._something.clear()
            while self._waiting:
                if self._write():
                    continue
                if self._stopping.wait(_AGAIN_SECONDS):
                    return

    def _write(self) -> bool:
        """Write some ends in one transaction; False where the database does not answer."""
        some = [self._waiting[n] for n in range(min(_AT_A_TIME, len(self._waiting)))]
        try:
            with self._database.write() as connection:
                for end in some:
                    end_association(
                        connection,
                        end.origin,
                        reason=end.reason,
                        counts=end.counts,
                        now=end.at,
                        receiver=self._receiver,
                    )
                settling = [end for end in some if self._settles(end.origin.channel)]
                if settling:
                    ids = [end.origin.association_id for end in settling]
                    look_at_studies_now(connection, ids, settling[-1].at)
        except TransientError as error:
            if self._stopping.is_set():
                self._give_up([end.origin.association_id for end in some], str(error))
            return False
        except PermanentError as error:
            self._give_up([end.origin.association_id for end in some], str(error))
        except Exception as error:  # noqa: BLE001  (else no end is noted any more)
            # Its text may hold values of a statement; its type cannot.
            self._give_up([end.origin.association_id for end in some], type(error).__name__)
        for _ in some:
            self._waiting.popleft()
        self._noted()
        return True

    @staticmethod
    def _give_up(association_ids: list[str], reason: str) -> None:
        for association_id in association_ids:
            _log.warning("association_end_not_noted", association=association_id, reason=reason)
