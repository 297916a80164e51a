"""Modalities that write down what they were told: which objects were answered Success."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tests.support.raw_peer import CT_ID, LAST, RawPeer, pdv, status_of, store_command
from tests.support.studies import data_set_bytes, make_instance

SUCCESS = 0x0000
_PDV_BYTES = 16_000
_TEMPLATE_UID = "1.2.826.0.1.3680043.9.9999.1." + "7" * 26
_TEMPLATE_STUDY = "1.2.826.0.1.3680043.9.9999.2." + "7" * 26


@dataclass(frozen=True)
class Sample:
    """One object to send."""

    uid: str
    data: bytes

    @property
    def sha256(self) -> str:
        """The digest that staging must hold."""
        return sha256(self.data).hexdigest()


class Samples:
    """Makes any number of CT objects quickly: one data set with other UIDs each time."""

    def __init__(self, size: int = 12_000) -> None:
        dataset = make_instance()
        dataset.SOPInstanceUID, dataset.StudyInstanceUID = _TEMPLATE_UID, _TEMPLATE_STUDY
        dataset.SeriesInstanceUID = f"{_TEMPLATE_STUDY}.1"
        dataset["PixelData"].value = bytes(range(256)) * (size // 256)
        self._data = data_set_bytes(dataset)

    def make(self, study: int, number: int, *, pixel: int = 0) -> Sample:
        """Return an object; the same numbers give the same bytes."""
        uid = f"{_TEMPLATE_UID[:-26]}{10**25 + study * 10**10 + number}"
        study_uid = f"{_TEMPLATE_STUDY[:-26]}{10**25 + study}"
        data = self._data.replace(_TEMPLATE_UID.encode(), uid.encode())
        data = data.replace(_TEMPLATE_STUDY.encode(), study_uid.encode())
        return Sample(uid, data[:-2] + pixel.to_bytes(2, "little"))


class Journal:
    """What senders were answered, kept in memory and in a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}
        self.statuses: list[int] = []

    def note(self, sample: Sample, status: int) -> None:
        """Write down one answer."""
        with self._lock:
            self._file.write(f"{sample.uid} {status:04X} {sample.sha256}\n")
            self.statuses.append(status)
            if status == SUCCESS:
                self.acknowledged[sample.uid] = sample.sha256

    def sync(self) -> None:
        """Put what is written on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Sender:
    """One association to a receiver."""

    port: int
    journal: Journal
    patience: float = 10.0
    peer: RawPeer = field(init=False)

    def __post_init__(self) -> None:
        self.peer = RawPeer(self.port)
        self.peer.socket.settimeout(self.patience)

    def associate(self) -> bool:
        """Ask for the association; False if the receiver is gone."""
        try:
            self.peer.associate()
        except (AssertionError, OSError):
            return False
        return True

    def send(self, sample: Sample) -> int | None:
        """Send one object; return its status, or None without an answer."""
        try:
            self.peer.send_pdvs(pdv(CT_ID, 1 | LAST, store_command(sample.uid)))
            for piece, is_last in _pieces(sample.data):
                self.peer.send_data(piece, last=is_last)
            status = status_of(self.peer.response())
        except (AssertionError, OSError, KeyError):
            return None
        self.journal.note(sample, status)
        return status

    def begin(self, sample: Sample) -> int:
        """Send the first half of an object; return how many bytes that was."""
        half = min(len(sample.data) // 2, _PDV_BYTES)
        self.peer.send_command(store_command(sample.uid))
        self.peer.send_data(sample.data[:half], last=False)
        return half

    def finish(self, sample: Sample, sent: int) -> int:
        """Send the rest of an object, and return its status."""
        for piece, is_last in _pieces(sample.data[sent:]):
            self.peer.send_data(piece, last=is_last)
        status = status_of(self.peer.response())
        self.journal.note(sample, status)
        return status

    def send_all(self, samples: Iterable[Sample]) -> list[Sample]:
        """Send objects until the receiver is gone; return those without Success."""
        rest = list(samples)
        missing: list[Sample] = []
        while rest:
            status = self.send(rest[0])
            if status is None:
                return [*missing, *rest]
            if status != SUCCESS:
                missing.append(rest[0])
            rest.pop(0)
        return missing

    def release(self) -> bool:
        """Release the association; False if the receiver is gone."""
        try:
            self.peer.release()
        except (AssertionError, OSError):
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        self.peer.socket.close()


def _pieces(data: bytes) -> Iterator[tuple[bytes, bool]]:
    for start in range(0, len(data), _PDV_BYTES):
        yield data[start : start + _PDV_BYTES], start + _PDV_BYTES >= len(data)
