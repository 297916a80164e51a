"""A real listener over a real file store, with an ``accept`` that writes down what it gets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.store import FileStore
from intu_fhir.model.instance import Accepted, Disposition, Origin, ReceivedObject
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.receive.listener import Listener
from intu_fhir.receive.ports import Commit, Hear
from intu_fhir.receive.reporting import OpenRequesters
from intu_fhir.receive.slots import Slots
from intu_fhir.receive.space import FreeSpace
from intu_fhir.settings.schema import Channel, DicomSource, Receiver

Decide = Callable[[ReceivedObject, bytes], Accepted]


def stored(received: ReceivedObject, data: bytes) -> Accepted:
    """Decide as staging does for a new object."""
    return Accepted(Disposition.STORED, received.sop_instance_uid)


@dataclass
class Recorder:
    """Keeps what a listener hands out.

    Args:
        decide: what ``accept`` returns or raises.
    """

    decide: Decide = stored
    objects: list[tuple[ReceivedObject, bytes]] = field(default_factory=list)
    ends: list[tuple[Origin, str, dict[Disposition, int]]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def accept(self, received: ReceivedObject) -> Accepted:
        """Note the object with its data set, then decide."""
        data = received.path.read_bytes()[received.data_set_offset :]
        with self._changed:
            self.objects.append((received, data))
            self._changed.notify_all()
        accepted = self.decide(received, data)
        received.path.unlink()
        return accepted

    def association_ended(
        self, origin: Origin, reason: str, counts: Mapping[Disposition, int]
    ) -> None:
        """Note the end."""
        with self._changed:
            self.ends.append((origin, reason, dict(counts)))
            self._changed.notify_all()

    def wait_for_ends(self, count: int = 1) -> list[str]:
        """Return the reasons of the ends once there are ``count``."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ends) >= count, timeout=60)
            return [reason for _, reason, _ in self.ends]

    def wait_for_objects(self, count: int = 1) -> None:
        """Return once ``count`` objects have been handed over."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.objects) >= count, timeout=60)


PATIENT = Receiver(
    handshake_seconds=60.0,
    pdu_seconds=60.0,
    idle_seconds=60.0,
    min_free_bytes=0,
    max_pdu_bytes=16_384,
)
"""No peer of a test is ended for being slow, however little time the machine has for it."""


def limits(**changes: Any) -> Receiver:
    """Return limits that suit a test."""
    return PATIENT.model_copy(update=changes)


QUICK = limits(handshake_seconds=1.0, pdu_seconds=1.0, idle_seconds=2.0)
"""For tests that wait until a peer is ended for being slow."""


def dicom_source(**changes: Any) -> DicomSource:
    """Return a source on any free loopback port."""
    return DicomSource(type="dicom", port=1).model_copy(
        update={"port": 0, "host": "127.0.0.1", **changes}
    )


class Receiving:
    """A running listener with what tests look at."""

    def __init__(
        self,
        folder: Path,
        *,
        recorder: Recorder | None = None,
        receiver: Receiver = PATIENT,
        files: FileStore | None = None,
        slots: Slots | None = None,
        free_space: FreeSpace | None = None,
        clock: Clock | None = None,
        channel_id: str = "test",
        commit: Commit | None = None,
        hear: Hear | None = None,
        archives: dict[str, frozenset[str]] | None = None,
        **source: Any,
    ) -> None:
        self.folder = folder
        self.recorder = recorder or Recorder()
        self.requesters = OpenRequesters()
        caps = (receiver.max_associations, receiver.max_associations_per_address)
        self.slots = slots or Slots(*caps)
        self.listener = Listener(
            Channel(id=channel_id, source=dicom_source()).model_copy(
                update={"source": dicom_source(**source)}
            ),
            receiver,
            accept=self.recorder.accept,
            association_ended=self.recorder.association_ended,
            files=files or LocalFileStore(folder),
            slots=self.slots,
            free_space=free_space,
            clock=clock or SystemClock(),
            commit=commit,
            hear=hear,
            archives=archives,
            requesters=self.requesters,
        )
        self.listener.start()
        self.port = self.listener.port

    def resting(self) -> int:
        """Return from how many associations nothing comes, and nothing is done for them."""
        return sum(entry.quiet != 0 for entry in self.slots._ledger._entries())

    def spooled(self) -> list[Path]:
        """Return what is left in the spool."""
        return sorted((self.folder / "incoming").iterdir())
