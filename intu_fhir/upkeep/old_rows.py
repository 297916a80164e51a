"""Takes old rows out of tables that grow for ever: complete headers, tries, events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from intu_fhir.db import old_audit as chain
from intu_fhir.db import spans
from intu_fhir.db.audit import chain_begin
from intu_fhir.db.old_audit import OldEvents
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.spans import Kind, OldRows, Span
from intu_fhir.errors import StoreUnavailable
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.upkeep")
EVERY_SECONDS = 86_400.0
AGAIN_SECONDS = 600.0
"""Sooner than that it is tried again where somebody read a part for long."""


class Steps(Protocol):
    """A removal as it goes on, a step at a time."""

    def step(self) -> bool:
        """Remove some; return whether there may be more to remove at once.

        Raises:
            StoreUnavailable: somebody is in the way for longer; try again later.
        """


@dataclass(frozen=True)
class Removal:
    """Empties old spans of a site's table; any number of processes may do it at once.

    Args:
        by: who does it, for the audit trail.
    """

    database: Database
    clock: Clock
    by: Pruner
    kind: Kind

    def find(self, before: datetime) -> Iterator[OldRows]:
        """Give the spans that are old, with what keeps them; the oldest first."""
        span: Span | None = None
        while True:
            with self.database.read() as connection:
                span = spans.next_span(connection, self.kind, span.end if span else 0)
                old = spans.look_at(connection, self.kind, span, before) if span else None
            if old is None:
                return
            yield old

    def empty(self, span: Span, before: datetime) -> OldRows | None:
        """Empty a span, if it may go; return what went or what keeps it.

        Raises:
            StoreUnavailable: somebody reads it for longer; try again later.
        """
        now = self.clock.now()
        with self.database.write() as connection:
            old = spans.empty(connection, self.kind, span, before, self.by, now)
        if old and old.kept_by:
            _log.info("old_rows_kept", detail=span.name, count=old.rows, study=old.kept_by[0])
        elif old:
            _log.info("old_rows_removed", detail=span.name, count=old.rows)
        return old

    def remove(self, found: Sequence[OldRows], before: datetime) -> Iterator[int]:
        """Empty spans one after the other; give how many rows went with each.

        Raises:
            StoreUnavailable: somebody reads one for longer; those before it are gone.
        """
        for one in found:
            gone = self.empty(one.span, before)
            yield gone.rows if gone and not gone.kept_by else 0

    def steps(self, before: datetime) -> Steps:
        """Begin to empty all that is old, a span at each step."""
        return _Spans(self, before)


@dataclass
class _Spans:
    removal: Removal
    before: datetime
    _behind: int = 0

    def step(self) -> bool:
        removal = self.removal
        with removal.database.read() as connection:
            span = spans.next_span(connection, removal.kind, self._behind)
        old = removal.empty(span, self.before) if span else None
        if old is None:
            return False
        self._behind = old.span.end
        return True


@dataclass(frozen=True)
class AuditRemoval:
    """Cuts old events off the beginning of the audit trail; any number may do it at once.

    Args:
        by: who does it, for the audit trail.
    """

    database: Database
    clock: Clock
    by: Pruner

    def find(self, before: datetime) -> Iterator[OldEvents]:
        """Give the events that are old, some at a time; the last ones say what keeps the next."""
        with self.database.snapshot() as connection:
            after = chain_begin(connection).seal
            while True:
                old = chain.look_at(connection, after, before)
                if old.events or old.kept_by:
                    yield old
                if not old.events or old.kept_by:
                    return
                after = old.end

    def remove(self, found: Sequence[OldEvents], before: datetime) -> Iterator[int]:
        """Remove what is old; give how many events went each time.

        Raises:
            StoreUnavailable: another process seals or removes; what was removed before stays so.
        """
        for _ in found:
            yield self.remove_some(before).events

    def remove_some(self, before: datetime) -> OldEvents:
        """Remove the next old events; return what went and what keeps the next one.

        Raises:
            StoreUnavailable: another process seals or removes; try again later.
        """
        with self.database.write() as connection:
            old = chain.remove(connection, before, self.by, self.clock.now())
        if old.events:
            seal = f"{old.end.position}:{old.end.hash}"
            _log.info("audit_begins", count=old.events, detail=seal)
        if old.kept_by:
            _log.info("audit_kept", reason=old.kept_by)
        return old

    def steps(self, before: datetime) -> Steps:
        """Begin to remove all that is old, some events at each step."""
        return _Events(self, before)


@dataclass
class _Events:
    removal: AuditRemoval
    before: datetime

    def step(self) -> bool:
        old = self.removal.remove_some(self.before)
        return bool(old.events) and not old.kept_by


@dataclass
class ScheduledRemoval:
    """A chore: removes old rows of a table by the site's own rule once a day.

    Args:
        days: age in days.
    """

    removal: Removal | AuditRemoval
    days: float
    _next: float = 0.0
    _steps: Steps | None = None

    def remove_some(self) -> int:
        """Remove the next ones; return whether there is more to do at once."""
        clock = self.removal.clock
        if self._steps is None:
            if clock.monotonic() < self._next:
                return 0
            self._steps = self.removal.steps(before_of(clock, self.days))
        try:
            more = self._steps.step()
        except StoreUnavailable as error:
            _log.info("old_rows_wait", reason=str(error))
            return self._rest(AGAIN_SECONDS)
        return 1 if more else self._rest(EVERY_SECONDS)

    def _rest(self, seconds: float) -> int:
        self._steps = None
        self._next = self.removal.clock.monotonic() + seconds
        return 0


def before_of(clock: Clock, days: float) -> datetime:
    """Return the time before which something is so many days old."""
    return clock.now() - timedelta(days=days)
