"""Keeps a study in this worker's hands while it is being sent, however long that takes.

What a worker writes after its lease has ended goes over what the next one wrote, at a far side that
knows nothing of fences. One request may take longer than a lease, and so may its token, so:

* ``keep`` is asked before each write. Once a third of the lease has passed it asks the database,
  which alone knows who has the study.
* While the worker waits for a far side a heartbeat renews: a thread beside the delivery, which dies
  with the process. A longer lease would have done as well, but then the studies of a killed worker
  would wait for the longest request that there may be; so they wait for one lease.
* Where the database is away, our own clocks say when the lease is over, and from then on nothing is
  written: the monotonic one, since the other may be set back; the other, since the monotonic one
  stands still while a machine sleeps.

A worker that has asked nothing for longer than its requests can take is stuck: the heartbeat no
longer speaks for it, and its study is free after a lease.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from intu_fhir.db import work
from intu_fhir.db.session import Database
from intu_fhir.errors import StaleClaim, StoreUnavailable
from intu_fhir.model.work import Claim
from intu_fhir.observe.clock import Clock

_SHARE = 3
"""A lease is renewed when this part of it has passed."""

_REQUESTS_UNASKED = 20
"""So many requests, each as long as it may take, lie between two questions at most: those of a
patient who was merged several times, with a token for each."""


class Lease:
    """The lease of one claim; while it is entered, a heartbeat renews it.

    Args:
        request_seconds: how long one request may take; the heartbeat goes on for as long as the
            most of them that lie between two questions.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        claim: Claim,
        lease_seconds: float,
        request_seconds: float = float("inf"),
    ) -> None:
        self._database, self._clock, self._claim = database, clock, claim
        self._seconds, self._unasked = lease_seconds, _REQUESTS_UNASKED * request_seconds
        self._asked_at = clock.monotonic()
        self._until = self._asked_at + (claim.lease_until - clock.now()).total_seconds()
        self._until_by_wall = claim.lease_until
        self._lost = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._heart.join()

    def keep(self) -> bool:
        """Say whether the study is still ours to send; asked between two requests."""
        self._asked_at = self._clock.monotonic()
        return self._is_ours()

    def _beat(self) -> None:
        while not self._over.wait(self._seconds / _SHARE / 2) and not self._lost:
            if self._clock.monotonic() - self._asked_at < self._unasked:
                self._is_ours()

    def _is_ours(self) -> bool:
        with self._lock:
            if not self._lost and self._left() <= self._seconds * (1 - 1 / _SHARE):
                self._renew(self._clock.monotonic())
            return not self._lost and self._left() > 0

    def _left(self) -> float:
        """Return what is left of the lease, by the clock that says less."""
        by_wall = (self._until_by_wall - self._clock.now()).total_seconds()
        return min(self._until - self._clock.monotonic(), by_wall)

    def _renew(self, begun: float) -> None:
        try:
            with self._database.write() as connection:
                now = self._clock.now()
                work.renew(connection, self._claim, now=now, lease_seconds=self._seconds)
        except StaleClaim:
            self._lost = True
        except StoreUnavailable:
            pass  # it is ours until it ends; the next question asks the database again
        else:
            self._until = begun + self._seconds
            self._until_by_wall = now + timedelta(seconds=self._seconds)
