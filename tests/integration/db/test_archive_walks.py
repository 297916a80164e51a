"""Requests for a promise, whatever happens to them in whatever order (battery P-05)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from intu_fhir.db.archive_closing import lost, reject
from intu_fhir.db.archive_commitments import claim, put_back
from intu_fhir.db.replay import ReplayFilter, ReplayQuery
from intu_fhir.db.replay import put_back as put_back_rows
from intu_fhir.db.session import Database
from intu_fhir.db.tables import archive_commitments, instance_deliveries
from intu_fhir.model.archive_commitment import OPEN, AskClaim
from intu_fhir.model.work import DELIVERED
from tests.support.asked import THEN, UIDS, Sent, stage_and_send
from tests.support.clock import FakeClock

STEPS = 120
REASONS = (0x0110, 0x0112, 0x0213)


@dataclass
class Walk:
    """A PACS, workers and a network without any manners."""

    sent: Sent
    chance: random.Random
    taken: list[str] = field(default_factory=list)

    def step(self) -> None:
        """Let something happen."""
        self.chance.choice(
            (self.ask, self.ask, self.answer, self.answer, self.wait, self.deliver, self.replay)
        )()

    def ask(self) -> None:
        """Take a request, and send it, or fail in one of the ways to fail."""
        held = self._claim()
        if held is None:
            return
        now, database = self.sent.clock.now(), self.sent.database
        how = self.chance.random()
        if how < 0.6:
            self.sent.asked(held)
        elif how < 0.7:
            with database.write() as connection:
                put_back(connection, held, now, "no connection")
        elif how < 0.8:
            with database.write() as connection:
                lost(connection, held, now, retry_at=now, then=THEN)
        elif how < 0.85:
            with database.write() as connection:
                reject(connection, held, now, THEN.error)
        self.taken.append(held.transaction_uid)  # else the worker died on it

    def answer(self) -> None:
        """Answer any request there ever was: in part, in whole, again, or with refusals."""
        if not self.taken:
            return
        named = [uid for uid in UIDS if self.chance.random() < 0.8]
        failed = {u: self.chance.choice(REASONS) for u in named if self.chance.random() < 0.2}
        committed = [uid for uid in named if uid not in failed]
        newest = self.chance.random() < 0.6
        self.sent.hear(
            self.taken[-1] if newest else self.chance.choice(self.taken), committed, failed
        )

    def wait(self) -> None:
        """Let time pass, and end what is overdue."""
        self.sent.clock.advance(self.chance.choice((1, 100, 4_000)))
        self.sent.overdue()

    def deliver(self) -> None:
        """Deliver what is due."""
        row = self.sent.delivery()
        if row.due_at is not None and row.due_at <= self.sent.clock.now():
            self.sent.finish(self.sent.take())

    def replay(self) -> None:
        """Put back a dead letter, or by force what was promised."""
        row = self.sent.delivery()
        if row.commitment == "committed":
            self._put_back(DELIVERED, again=True)
        elif self.chance.random() < 0.5:
            self._put_back("dead")

    def _put_back(self, state: str, *, again: bool = False) -> None:
        rows = ReplayQuery(self.sent.database, ReplayFilter(destination="pacs")).rows([state])
        with self.sent.database.write() as connection:
            put_back_rows(connection, rows, again=again, now=self.sent.clock.now())

    def honest(self) -> None:
        """Do the next thing as it should be."""
        self.sent.clock.advance(4_000)
        while self.sent.overdue() is not None:
            pass
        self._put_back("dead")
        self.deliver()
        while (held := self._claim()) is not None:
            self.sent.asked(held)
            self.sent.hear(held.transaction_uid, UIDS)

    def check(self) -> None:
        """A promise is whole where it is said to be, and nothing is forgotten where it is not."""
        i, r = instance_deliveries.c, archive_commitments.c
        with self.sent.database.read() as connection:
            rows = connection.execute(
                sa.select(i.delivered, i.committed_at, r.state).join_from(
                    instance_deliveries, archive_commitments, r.request_key == i.request_key
                )
            ).all()
        row = self.sent.delivery()
        assert len(rows) == len(UIDS)
        if row.commitment == "committed":
            assert row.state != "dead"
            assert all(one.delivered and one.committed_at for one in rows)
        elif row.state == DELIVERED:
            lacking = [one for one in rows if one.committed_at is None]
            assert lacking
            assert all(one.delivered and one.state in OPEN for one in lacking)

    def _claim(self) -> AskClaim | None:
        with self.sent.database.write() as connection:
            now = self.sent.clock.now()
            held = claim(connection, "pacs", now, lease_seconds=60, limit=1)
        return held[0] if held else None


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_closes_whatever_happened(
    seed: int, database: Database, clock: FakeClock
) -> None:
    """P-05: after any course of events nothing is forgotten, and an honest PACS closes it."""
    walk = Walk(stage_and_send(database, clock), random.Random(seed))
    for _ in range(STEPS):
        walk.step()
        walk.check()
    for _ in range(8):
        walk.honest()
    walk.check()
    row = walk.sent.delivery()
    assert (row.state, row.commitment, row.last_error) == (DELIVERED, "committed", "")
