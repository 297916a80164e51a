"""Stages the complete header of each instance, right after its answer.

The rows without one are its queue, so a restart goes on where the last run ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from intu_fhir.db.described import Described, Undescribed, store_described, undescribed
from intu_fhir.db.session import Database
from intu_fhir.errors import PermanentError
from intu_fhir.files.store import FileStore
from intu_fhir.mappings import Level, levels_digest
from intu_fhir.model.finding import Finding, Severity
from intu_fhir.observe.clock import Clock
from intu_fhir.stage.describe import Description
from intu_fhir.stage.encodings import DEFAULT_LIMITS, Limits
from intu_fhir.stage.stored import read_stored

BATCH = 50


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

    def describe_some(self) -> int:
        """Describe the oldest instances without a header; return how many were."""
        with self.database.read() as connection:
            waiting = undescribed(connection, BATCH, self.files.here)
        if not waiting:
            return 0
        found = [self._describe(instance) for instance in waiting]
        with self.database.write() as connection:
            store_described(connection, found, self.clock.now())
        return len(found)

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
