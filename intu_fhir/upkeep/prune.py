"""Takes the files of old studies out of the store; what is known of the studies stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from intu_fhir.db import pruning as table
from intu_fhir.db.pruning import Prunable, Pruner, PruneRule
from intu_fhir.db.session import Database
from intu_fhir.files.store import FileStore
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.retention import Retention

_log = structlog.get_logger("intu_fhir.upkeep")
_STUDIES, _FILES = 50, 500


@dataclass(frozen=True)
class Prune:
    """Prunes the studies of a site; any number of processes may do it at once.

    Args:
        by: who does it, for the audit trail.
    """

    database: Database
    files: FileStore
    clock: Clock
    by: Pruner

    def find(self, rule: PruneRule) -> Iterator[Prunable]:
        """Give the studies whose files may go, the oldest first."""
        last: Prunable | None = None
        while True:
            with self.database.read() as connection:
                some = table.prunable(connection, rule, _STUDIES, last)
            if not some:
                return
            yield from some
            last = some[-1]

    def prune(self, study: Prunable, rule: PruneRule) -> int:
        """Write down that the files of a study go, if they still may; return how many."""
        now = self.clock.now()
        with self.database.write() as connection:
            pruned = table.prune_study(connection, study.study_key, rule, self.by, now)
        if pruned:
            _log.info("study_pruned", study=study.study_instance_uid, count=pruned)
        return pruned

    def remove_files(self) -> int | None:
        """Remove the files that were written down; None where a backup keeps them for now.

        Raises:
            StoreUnavailable: the disk fails; the next run goes on.
        """
        removed = 0
        while True:
            with self.database.read() as connection:
                files = table.to_remove(connection, _FILES)
            if not files:
                return removed
            if not self.files.remove_all(files):
                return None
            with self.database.write() as connection:
                table.removed(connection, files)
            removed += len(files)


@dataclass
class ScheduledPrune:
    """Prunes by the site's own rule now and then; the work of one step is small."""

    prune: Prune
    settings: Retention
    _next: float = 0.0
    _found: Iterator[Prunable] = field(default_factory=lambda: iter(()))
    _rule: PruneRule | None = None

    def prune_some(self) -> int:
        """Prune the next study, or remove files; return whether there is more to do at once."""
        return int(self._step())

    def _step(self) -> bool:
        clock = self.prune.clock
        if self._rule is None:
            if clock.monotonic() < self._next:
                return False
            self._rule = rule_of(self.settings, self.prune.clock)
            self._found = self.prune.find(self._rule)
        study = next(self._found, None)
        if study is not None:
            self.prune.prune(study, self._rule)
            return True
        self._rule = None
        self._next = clock.monotonic() + 60 * self.settings.every_minutes
        if self.prune.remove_files() is None:
            _log.info("pruning_waits", reason="a backup is being made")
        return False


def rule_of(settings: Retention, clock: Clock, days: float | None = None) -> PruneRule:
    """Return the rule of a configuration as it is now.

    Args:
        days: the age to use instead of the configured one.
    """
    age = settings.after_days if days is None else days
    assert age is not None
    return PruneRule(
        before=clock.now() - timedelta(days=age),
        states=settings.states,
        only_forwarded=settings.only_forwarded,
    )
