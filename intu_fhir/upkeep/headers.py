"""Takes complete headers out of the database when they are old; rows of instances stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from intu_fhir.db import old_headers as table
from intu_fhir.db.old_headers import OldHeaders, Span
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable
from intu_fhir.observe.clock import Clock

_log = structlog.get_logger("intu_fhir.upkeep")
EVERY_SECONDS = 86_400.0
AGAIN_SECONDS = 600.0
"""Sooner than that it is tried again where somebody read a part for long."""


@dataclass(frozen=True)
class OldHeadersRemoval:
    """Empties old spans of a site's complete headers; any number of processes may do it at once.

    Args:
        by: who does it, for the audit trail.
    """

    database: Database
    clock: Clock
    by: Pruner

    def find(self, before: datetime) -> Iterator[OldHeaders]:
        """Give the spans that are old, with what keeps them; the oldest first."""
        span: Span | None = None
        while True:
            with self.database.read() as connection:
                span = table.next_span(connection, span.end if span else 0)
                old = table.look_at(connection, span, before) if span else None
            if old is None:
                return
            yield old

    def step(self, before: datetime, behind: int) -> OldHeaders | None:
        """Empty the next span from a key on, if it may go; None where none is old.

        Raises:
            StoreUnavailable: somebody reads it for longer; try again later.
        """
        with self.database.read() as connection:
            span = table.next_span(connection, behind)
        return self.empty(span, before) if span else None

    def empty(self, span: Span, before: datetime) -> OldHeaders | None:
        """Empty a span, if it may go; return what went or what keeps it.

        Raises:
            StoreUnavailable: somebody reads it for longer; try again later.
        """
        with self.database.write() as connection:
            old = table.empty(connection, span, before, self.by, self.clock.now())
        if old and not old.kept_by:
            _log.info("headers_removed", detail=span.name, count=old.headers)
        elif old:
            _log.info("headers_kept", detail=span.name, count=old.headers, study=old.kept_by[0])
        return old


@dataclass
class ScheduledHeaders:
    """A chore: removes old headers by the site's own rule once a day; one step is one span.

    Args:
        days: age in days.
    """

    removal: OldHeadersRemoval
    days: float
    _next: float = 0.0
    _before: datetime | None = None
    _behind: int = 0

    def remove_some(self) -> int:
        """Empty the next span; return whether there is more to do at once."""
        clock = self.removal.clock
        if self._before is None:
            if clock.monotonic() < self._next:
                return 0
            self._before, self._behind = before_of(clock, self.days), 0
        try:
            old = self.removal.step(self._before, self._behind)
        except StoreUnavailable as error:
            _log.info("headers_wait", reason=str(error))
            return self._rest(AGAIN_SECONDS)
        if old is None:
            return self._rest(EVERY_SECONDS)
        self._behind = old.span.end
        return 1

    def _rest(self, seconds: float) -> int:
        self._before = None
        self._next = self.removal.clock.monotonic() + seconds
        return 0


def before_of(clock: Clock, days: float) -> datetime:
    """Return the time before which an instance is so many days old."""
    return clock.now() - timedelta(days=days)
