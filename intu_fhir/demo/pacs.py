"""A stand-in PACS: a real C-STORE SCP that keeps what it gets in a folder.

For demonstrations and tests on one machine, not for patients: it keeps no index, and it trusts
everybody who can reach it.
"""

from __future__ import annotations

import functools
import hashlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pynetdicom
from pynetdicom import _config as pynetdicom_config
from pynetdicom import evt

from intu_fhir.deliver.upper_layer import VERIFICATION
from intu_fhir.errors import PermanentError
from intu_fhir.files.part10 import part10_head
from intu_fhir.stage.header import read_header

ABORT = -1
"""In place of a status: abort the association instead of answering."""

_POLL_SECONDS = 0.001
_GRACE_SECONDS = 1.0
_WARNING = 0xB


@dataclass(frozen=True)
class KeptInstance:
    """An instance that a PACS took."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path

    @functools.cached_property
    def study_instance_uid(self) -> str:
        """Study Instance UID (0020,000D), read from the file; empty where it cannot be read."""
        try:
            return read_header(self.data_set(), self.transfer_syntax_uid).study_instance_uid
        except PermanentError:
            return ""

    def data_set(self) -> bytes:
        """Return the bytes of the data set, as they came."""
        head = part10_head(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid)
        return self.path.read_bytes()[len(head) :]


class StandInPacs:
    """Listens from ``with`` to the end of its block.

    Args:
        folder: where instances go, one Part 10 file each, named by the SHA-256 of the UID.
        require_called_ae_title: reject who calls it by another name (PS3.8 9.3.4, 1/1/7).
        port: 0 takes any free one; read ``port`` then.
        contexts: what it takes, SOP class to transfer syntaxes; None takes everything.
        tls: settings of a TLS server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "PACS",
        host: str = "127.0.0.1",
        port: int = 0,
        contexts: Mapping[str, Iterable[str]] | None = None,
        tls: ssl.SSLContext | None = None,
        require_called_ae_title: bool = False,
    ) -> None:
        self.folder, self.ae_title, self.host, self.port = folder, ae_title, host, port
        self.received: list[str] = []
        self._kept: dict[str, KeptInstance] = {}
        self.associations = 0
        self._unrestricted = contexts is None
        self._tls = tls
        self._lock = threading.Lock()
        self._script: deque[int] = deque()
        self._by_uid: dict[str, int] = {}
        self._entity = self._make_entity(contexts or {}, require_called_ae_title)
        self._server: Any = None
        self._before = False

    def _make_entity(
        self, contexts: Mapping[str, Iterable[str]], require_called_ae_title: bool
    ) -> pynetdicom.AE:
        entity = pynetdicom.AE(self.ae_title)
        entity.require_called_aet = require_called_ae_title
        entity.maximum_pdu_size = 131_072
        entity.maximum_associations = 100
        entity.add_supported_context(VERIFICATION)
        for sop_class_uid, transfer_syntaxes in contexts.items():
            entity.add_supported_context(sop_class_uid, list(transfer_syntaxes))
        return entity

    @property
    def instances(self) -> list[KeptInstance]:
        """What it has: one for each SOP Instance UID, however often it came."""
        with self._lock:
            return list(self._kept.values())

    def answer_next(self, *statuses: int) -> None:
        """Answer the next instances with these statuses, or ``ABORT``; then 0000 again."""
        with self._lock:
            self._script.extend(statuses)

    def abort_after(self, stored: int) -> None:
        """Abort the association once, in place of the answer after ``stored`` more successes."""
        self.answer_next(*[0] * stored, ABORT)

    def answer_for(self, sop_instance_uid: str, status: int) -> None:
        """Answer one instance with this status, always."""
        self._by_uid[sop_instance_uid] = status

    def start(self) -> Self:
        """Begin to listen."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._before = pynetdicom_config.UNRESTRICTED_STORAGE_SERVICE
        pynetdicom_config.UNRESTRICTED_STORAGE_SERVICE = self._unrestricted
        self._server = self._entity.start_server(
            (self.host, self.port),
            block=False,
            ssl_context=self._tls,
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted)],
        )
        self.port = self._server.socket.getsockname()[1]
        return self

    def stop(self) -> None:
        """End all associations and stop listening; safe to call twice."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            self._wait_for_ends()
            self._entity.shutdown()
            server.server_close()
            pynetdicom_config.UNRESTRICTED_STORAGE_SERVICE = self._before

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_for_ends(self) -> None:
        """Let associations that are ending end: aborting them just then is an error there."""
        deadline = time.monotonic() + _GRACE_SECONDS
        for association in self._entity.active_associations:
            association.join(max(deadline - time.monotonic(), 0.0))
            association.dul.join(max(deadline - time.monotonic(), 0.0))

    def _accepted(self, event: evt.Event) -> None:
        with self._lock:
            self.associations += 1
        # The default of 10 ms between two looks at the socket makes a slow PACS.
        event.assoc.dul._run_loop_delay = _POLL_SECONDS

    def _store(self, event: evt.Event) -> int:
        """Keep an instance, its data set as it came (PS3.4 annex B)."""
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        status = self._next_status(uid)
        if status == ABORT:
            event.assoc.abort()
            return 0xC000
        if status and status >> 12 != _WARNING:
            return status
        sop_class_uid = str(request.AffectedSOPClassUID)
        transfer_syntax_uid = str(event.context.transfer_syntax)
        head = part10_head(sop_class_uid, uid, transfer_syntax_uid)
        path = self.folder / f"{hashlib.sha256(uid.encode()).hexdigest()}.dcm"
        path.write_bytes(head + request.DataSet.getvalue())
        with self._lock:
            self._kept[uid] = KeptInstance(uid, sop_class_uid, transfer_syntax_uid, path)
            self.received.append(uid)
        return status

    def _next_status(self, uid: str) -> int:
        with self._lock:
            if uid in self._by_uid:
                return self._by_uid[uid]
            return self._script.popleft() if self._script else 0
