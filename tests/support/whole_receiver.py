"""The receive path as the application puts it together, in this process, on a given database."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, quarantine
from intu_fhir.files.local import LocalFileStore
from intu_fhir.mappings import staged_attributes
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.receive.listener import Listener
from intu_fhir.receive.slots import Slots
from intu_fhir.settings.schema import Channel
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.describer import Describer
from intu_fhir.stage.encodings import Limits
from intu_fhir.stage.rows import commit_rows
from intu_fhir.stage.turns import Turns
from tests.support.promises import Broken, examine
from tests.support.receiving import Recorder, dicom_source, limits


class WholeReceiver:
    """A listener over staging, with what tests look at.

    Args:
        receiver: settings that differ from quick ones.
    """

    def __init__(
        self, database: Database, folder: Path, clock: Clock | None = None, **receiver: Any
    ) -> None:
        self.database, self.files = database, LocalFileStore(folder)
        settings = limits(max_associations_per_address=100, idle_seconds=60.0, **receiver)
        clock = clock or SystemClock()
        self._rows = commit_rows(InstanceWriter(database, "here"))
        self._rows.start()
        reading = Limits.of(settings)
        self.describer = Describer(database, self.files, clock, staged_attributes(), reading)
        self.turns = Turns(settings.max_inflating, wait_seconds=0.5)
        self.listener = Listener(
            Channel(id="test", source=dicom_source()).model_copy(
                update={"source": dicom_source(private_sop_classes=("1.2.3",))}
            ),
            settings,
            accept=Accept(
                self.files, database, self._rows, clock, "here", {}, reading, turns=self.turns
            ),
            association_ended=Recorder().association_ended,
            files=self.files,
            slots=Slots(settings.max_associations, settings.max_associations_per_address),
            clock=clock,
        )
        self.listener.start()
        self.port = self.listener.port

    def close(self) -> None:
        """Stop."""
        self.listener.stop(grace_seconds=1)
        self._rows.stop()
        self.files.close()

    def staged(self) -> dict[str, str]:
        """Return the digest of the file of every staged instance by its UID."""
        return self._kept(instances)

    def quarantined(self) -> list[str]:
        """Return the digest of the file of everything in quarantine."""
        with self.database.read() as connection:
            names = connection.execute(sa.select(quarantine.c.file)).scalars().all()
        return sorted(self._digest(name) for name in names)

    def kept_files(self) -> int:
        """Return how many files there are, spool and quarantine included."""
        parts = (self.files.root / part for part in ("incoming", "instances", "quarantine"))
        return sum(path.is_file() for part in parts for path in part.rglob("*"))

    def broken(self, acknowledged: dict[str, str]) -> Broken:
        """Return what does not hold of what was acknowledged."""
        return examine(self.database, self.files.root, acknowledged)[0]

    def _kept(self, table: sa.Table) -> dict[str, str]:
        columns = sa.select(table.c.sop_instance_uid, table.c.file)
        with self.database.read() as connection:
            return {uid: self._digest(file) for uid, file in connection.execute(columns)}

    def _digest(self, name: str) -> str:
        content = self.files.path(name).read_bytes()
        begin = 132 + 12 + int.from_bytes(content[140:144], "little")
        return sha256(content[begin:]).hexdigest()
