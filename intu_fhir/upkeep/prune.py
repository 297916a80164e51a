"""Takes the files of old studies out of the store; what is known of the studies stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import structlog

from intu_fhir.db import pruning as table
from intu_fhir.db.pruning import Prunable, Pruner, PruneRule
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.store import FileStore
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.retention import Retention

_log = structlog.get_logger("intu_fhir.upkeep")
_STUDIES, _FILES = 50, 500
_MOST_IN_A_ROW = 3


@dataclass
class _Refusals:
    """What could not be removed: some files that have to stay, or all of them for a while."""

    in_a_row: int = 0
    all: int = 0
    last: StoreUnavailable | None = None

    def add(self, error: StoreUnavailable) -> None:
        """Note one."""
        self.in_a_row += 1
        self.all += 1
        self.last = error

    @property
    def are_many(self) -> bool:
        """Say whether it is the store rather than its files."""
        return self.in_a_row >= _MOST_IN_A_ROW

    def tell(self) -> None:
        """Raise the last one, if there is any."""
        if self.last is not None:
            raise StoreUnavailable(
                f"{self.last}; files that stay for now: {self.all}"
            ) from self.last


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

        One that cannot be removed, such as an object that a bucket has to keep, stays written
        down and keeps no other one back.

        Raises:
            StoreUnavailable: not all could be removed; the next run goes on.
        """
        removed, last = 0, ""
        refusals = _Refusals()
        while not refusals.are_many:
            with self.database.read() as connection:
                files = table.to_remove(connection, _FILES, after=last)
            if not files:
                break
            gone = self._removed(files, refusals)
            if gone is None:
                return None
            with self.database.write() as connection:
                table.removed(connection, gone)
            removed, last = removed + len(gone), files[-1]
        refusals.tell()
        return removed

    def _removed(self, files: list[str], refusals: _Refusals) -> list[str] | None:
        """Remove files together, or one by one where that fails; return those that are gone."""
        with contextlib.suppress(StoreUnavailable):
            return files if self.files.remove_all(files) else None
        gone = []
        for file in files:
            try:
                if not self.files.remove_all([file]):
                    return None
            except StoreUnavailable as error:
                refusals.add(error)
                if refusals.are_many:
                    break
            else:
                gone.append(file)
                refusals.in_a_row = 0
        return gone


@dataclass
class ScheduledPrune:
    """Prunes by the site's own rule now and then; the work of one step is small.

    Files that are to go for another reason, such as one that a new copy replaced, go here as well,
    so it is done where no rule is given too.
    """

    prune: Prune
    settings: Retention
    _next: float = 0.0
    _found: Iterator[tuple[Prunable, PruneRule]] | None = None

    def prune_some(self) -> int:
        """Prune the next study, or remove files; return whether there is more to do at once."""
        return int(self._step())

    def _step(self) -> bool:
        clock = self.prune.clock
        if self._found is None:
            if clock.monotonic() < self._next:
                return False
            self._found = self._old_studies()
        found = next(self._found, None)
        if found is not None:
            self.prune.prune(*found)
            return True
        self._found = None
        self._next = clock.monotonic() + 60 * self.settings.every_minutes
        if self.prune.remove_files() is None:
            _log.info("pruning_waits", reason="a backup is being made")
        return False

    def _old_studies(self) -> Iterator[tuple[Prunable, PruneRule]]:
        """Give each study whose files may go with the rule of now; none where there is no rule."""
        if self.settings.after_days is not None:
            rule = rule_of(self.settings, self.prune.clock)
            yield from ((study, rule) for study in self.prune.find(rule))


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
