"""Stages the complete header of each instance, right after its answer.

The rows without one are its queue, so a restart goes on where the last run ended.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from intu_fhir.db.described import Described, Undescribed, store_described, undescribed
from intu_fhir.db.describing import Claims, describing
from intu_fhir.db.session import Database
from intu_fhir.errors import PermanentError
from intu_fhir.files.store import FileStore
from intu_fhir.mappings import Level, levels_digest
from intu_fhir.model.finding import Finding, Severity
from intu_fhir.observe.clock import Clock
from intu_fhir.stage.describe import Description
from intu_fhir.stage.encodings import DEFAULT_LIMITS, Limits
from intu_fhir.stage.passing import Passing
from intu_fhir.stage.stored import read_stored

BATCH = 50

BATCH_SECONDS = 5.0
"""After so long a batch ends where it is: its claim must not outlast the database's patience."""

OTHERS_SECONDS = 60.0
"""How long to wait for what another process has in hand without any of it coming to an end."""

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Describer:
    """Fills in ``headers`` and the attributes that the mapping needs.

    Args:
        character_sets: by calling AE title, what its text is really in.
    """

    database: Database
    files: FileStore
    clock: Clock
    levels: Mapping[str, Level]
    limits: Limits = DEFAULT_LIMITS
    character_sets: Mapping[str, str] = field(default_factory=dict)
    passing: Passing = field(default_factory=Passing)

    def describe_some(self) -> int:
        """Describe the oldest instances that nobody else has in hand; return how many were."""
        with describing(self.database) as claims:
            waiting = self._take(claims)
            if not waiting:
                return 0
            found = self._describe_for_a_while(waiting)
            with self.database.write() as connection:
                store_described(connection, found, self.clock.now())
        return len(found)

    def describe_all(self) -> None:
        """Describe until nothing is left, and wait for what another process has in hand."""
        until = self.clock.monotonic() + OTHERS_SECONDS
        while self._is_left() and self.clock.monotonic() < until:
            if self.describe_some():
                until = self.clock.monotonic() + OTHERS_SECONDS
            else:
                time.sleep(_PAUSE_SECONDS)

    def _is_left(self) -> bool:
        with self.database.read() as connection:
            return bool(undescribed(connection, 1, self.files.here))

    def _take(self, claims: Claims) -> list[Undescribed]:
        """Claim the next instances, and read of them what is still to be described."""
        taken: list[Undescribed] = []
        for keys in self.passing.by(claims.connection, self.files.here, self.clock.now()):
            ours = claims.take(keys, BATCH - len(taken))
            if ours:
                # Looked at after they were taken: who had them before may have described them.
                taken += undescribed(claims.connection, len(ours), self.files.here, ours)
            if len(taken) >= BATCH:
                break
        return taken

    def _describe_for_a_while(self, waiting: Sequence[Undescribed]) -> list[Described]:
        until = self.clock.monotonic() + BATCH_SECONDS
        found: list[Described] = []
        for instance in waiting:
            found.append(self._describe(instance))
            if self.clock.monotonic() >= until:
                break
        return found

    def _describe(self, instance: Undescribed) -> Described:
        really = self.character_sets.get(instance.calling_ae_title, "")
        file, syntax = self.files.file(instance.file), instance.transfer_syntax_uid
        offset = instance.data_set_offset
        try:
            seen = read_stored(file, offset, syntax, self.levels, self.limits, really)
        except (OSError, PermanentError) as error:
            # The study must not wait for ever on a file that cannot be read: it is named.
            seen = Description({}, {}, {}, (_unreadable(instance, error),))
        canonical = orjson.dumps(seen.shared, option=orjson.OPT_SORT_KEYS)
        return Described(
            instance_key=instance.instance_key,
            series_key=instance.series_key,
            dicom_json=seen.dicom_json,
            shared=seen.shared,
            digest=hashlib.sha256(canonical).hexdigest(),
            attributes=seen.instance,
            staged_by=levels_digest(self.levels),
            findings=seen.findings,
        )


def _unreadable(instance: Undescribed, error: Exception) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="file_unreadable",
        message=f"The stored file of {instance.sop_instance_uid} cannot be read "
        f"({type(error).__name__}); restore it from a backup or ask for the instance again",
        level="instance",
        uid=instance.sop_instance_uid,
    )
