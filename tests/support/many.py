"""Many studies put into the staging tables at once, with what was built of them and a file each.

Study ``n`` has the key ``n``. Its generation ``g`` has ``g`` instances, so that a far side can
tell generations apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from sqlalchemy import Connection

from intu_fhir.db import tables as t
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.session import Database
from intu_fhir.files.mark import new_mark, read_mark, write_mark
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.work import DEAD, WAITING, DeliveryWish
from tests.support.publications import imaging_study
from tests.support.studies import data_set_bytes, make_instance

_ASSOCIATION = "many"
_FILE = "instances/many.dcm"
_CHUNK = 1_000


def study_uid(number: int) -> str:
    """Return the Study Instance UID of a study."""
    return f"1.2.826.0.1.{number}"


def instance_uid(number: int, generation: int) -> str:
    """Return the SOP Instance UID of the instance that a generation brought."""
    return f"{study_uid(number)}.1.{generation}"


@dataclass(frozen=True)
class Many:
    """The studies of one staging area.

    Args:
        files: root of the file store; all instances share one small file there.
        pictures: whether there are instances, for a PACS; without, the store is marked, since
            one that is empty while rows speak of files would not be opened.
    """

    database: Database
    files: Path
    pictures: bool = True

    def add(
        self,
        numbers: Sequence[int],
        destinations: Collection[str],
        *,
        due: Mapping[int, datetime] | datetime,
        state: str = WAITING,
    ) -> None:
        """Stage and build the first generation of studies that wait for their destinations.

        Args:
            due: when, for all or by number.
            state: ``waiting``, or ``dead`` after twenty tries.
        """
        if not self.pictures and not read_mark(self.files):
            self.files.mkdir(exist_ok=True)
            write_mark(self.files, new_mark())
        for begin in range(0, len(numbers), _CHUNK):
            some = numbers[begin : begin + _CHUNK]
            at = {n: due[n] if isinstance(due, Mapping) else due for n in some}
            with self.database.write() as connection:
                self._stage(connection, some, at)
                rows = [
                    _delivery(n, name, at[n], state) for n in some for name in sorted(destinations)
                ]
                connection.execute(sa.insert(t.deliveries), rows)

    def grow(
        self, connection: Connection, number: int, destinations: Iterable[str], now: datetime
    ) -> int:
        """Let a late image come: the next generation is built and wanted. Returns its number."""
        generation: int = connection.execute(
            sa.update(t.studies)
            .where(t.studies.c.study_key == number)
            .values(generation=t.studies.c.generation + 1, last_received_at=now)
            .returning(t.studies.c.generation)
        ).scalar_one()
        self._content(connection, [number], generation, {number: now})
        for name in sorted(destinations):
            wish = DeliveryWish(WAITING)
            want_delivery(connection, number, name, generation, wish=wish, now=now)
        return generation

    def _stage(
        self, connection: Connection, numbers: Sequence[int], at: Mapping[int, datetime]
    ) -> None:
        if connection.execute(sa.select(t.associations.c.association_id)).first() is None:
            first = min(at.values())
            connection.execute(sa.insert(t.associations), [_association(first)])
        connection.execute(sa.insert(t.studies), [_study(n, at[n]) for n in numbers])
        if self.pictures:
            connection.execute(sa.insert(t.series), [_series(n) for n in numbers])
        self._content(connection, numbers, 1, at)

    def _content(
        self,
        connection: Connection,
        numbers: Sequence[int],
        generation: int,
        at: Mapping[int, datetime],
    ) -> None:
        if self.pictures:
            sha256, size = self._file()
            connection.execute(
                sa.insert(t.instances),
                [_instance(n, generation, at[n], sha256, size) for n in numbers],
            )
        rows = [_resource(n, generation, at[n]) for n in numbers]
        connection.execute(sa.insert(t.resources), rows)

    def _file(self) -> tuple[str, int]:
        """Return hash and size of the data set that stands for all instances."""
        body = data_set_bytes(make_instance())
        path = self.files / _FILE
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return hashlib.sha256(body).hexdigest(), len(body)


def _association(at: datetime) -> dict[str, Any]:
    return {
        "association_id": _ASSOCIATION,
        "kind": "network",
        "channel": "radiology",
        "started_at": at,
        "ended_at": at,
        "end_reason": "released",
    }


def _study(number: int, at: datetime) -> dict[str, Any]:
    return {
        "study_key": number,
        "study_instance_uid": study_uid(number),
        "channel": "radiology",
        "first_received_at": at,
        "last_received_at": at,
        "revision": 1,
        "generation": 1,
        "number_of_series": 1,
        "number_of_instances": 1,
        "patient_id": "PAT-0001",
    }


def _series(number: int) -> dict[str, Any]:
    uid = f"{study_uid(number)}.1"
    return {"series_key": number, "study_key": number, "series_instance_uid": uid}


def _instance(number: int, generation: int, at: datetime, sha256: str, size: int) -> dict[str, Any]:
    return {
        "sop_instance_uid": instance_uid(number, generation),
        "study_key": number,
        "series_key": number,
        "association_id": _ASSOCIATION,
        "sop_class_uid": CTImageStorage,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "received_at": at,
        "file": _FILE,
        "data_set_offset": 0,
        "data_set_bytes": size,
        "sha256": sha256,
        "described_at": at,
    }


def _resource(number: int, generation: int, at: datetime) -> dict[str, Any]:
    resource = imaging_study(study_uid(number), instances=generation)
    return {
        "study_key": number,
        "generation": generation,
        "release": "r4",
        "mapping_version": "many",
        "channel": "radiology",
        "built_at": at,
        "state": "valid",
        "content_hash": content_hash(resource),
        "resource": resource,
        "findings": [],
    }


def _delivery(number: int, destination: str, due_at: datetime, state: str) -> dict[str, Any]:
    dead = state == DEAD
    return {
        "study_key": number,
        "destination": destination,
        "want": 1,
        "state": state,
        "due_at": None if dead else due_at,
        "updated_at": due_at,
        "attempts": 20 if dead else 0,
        "backlog": dead,
        "first_failed_at": due_at if dead else None,
        "last_failed_at": due_at if dead else None,
        "last_error": "HTTP 503: given up after 20 tries" if dead else "",
        "cause": "HTTP 503: given up after 20 tries" if dead else "",
    }
