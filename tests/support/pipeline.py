"""The loop body of the product over a real database, with steps that do what a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.model.outcome import Delivered, DeliveryOutcome
from intu_fhir.model.work import AGGREGATE, BUILD, DELIVER, WAITING, Claim, DeliveryWish, Finished
from intu_fhir.pipeline.record import Recorder
from intu_fhir.pipeline.runner import Lane, Runner, StepResult
from intu_fhir.settings.schema import RetrySettings
from tests.support.clock import FakeClock
from tests.support.rows import rows_of
from tests.support.staging import header, new_instance, store

RETRY = RetrySettings(first_seconds=10, max_seconds=100, max_attempts=3)
PACS = Lane(DELIVER, "pacs")


def due_at_pacs(database: Database, clock: FakeClock) -> Pipeline:
    """Return a pipeline whose only study is due at its PACS."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    pipeline = Pipeline(database, clock)
    pipeline.bring_to_delivery()
    return pipeline


@dataclass
class Pipeline:
    """A queue whose steps do what the test says."""

    database: Database
    clock: FakeClock
    does: dict[str, Callable[[Claim], StepResult]] = field(default_factory=dict)

    def do(self, step: str, claim: Claim) -> StepResult:
        """Do what the test has last asked of a step."""
        return self.does[step](claim)

    def runner(self, holder: str = "w1") -> Runner:
        """Return a worker."""
        return Runner(
            database=self.database,
            clock=self.clock,
            functions={
                (AGGREGATE, ""): partial(self.do, AGGREGATE),
                (BUILD, ""): partial(self.do, BUILD),
                (DELIVER, "pacs"): partial(self.do, DELIVER),
            },
            recorder=Recorder(RETRY),
            retry=RETRY,
            holder=holder,
            lease_seconds=60,
            chance=lambda: 1.0,
        )

    def row(self, table: sa.Table) -> Any:
        """Return the only row of a table."""
        [row] = self.rows(table)
        return row

    def rows(self, table: sa.Table) -> list[Any]:
        """Return all rows of a table, by their keys."""
        return rows_of(self.database, table)

    def bring_to_delivery(self, wish: DeliveryWish | None = None) -> None:
        """Run a study up to its delivery to ``pacs``."""
        wishes = {"pacs": wish or DeliveryWish(WAITING)}
        self.does[AGGREGATE] = lambda claim: Finished(lambda connection: None, 1)
        self.does[BUILD] = lambda claim: Finished(lambda connection: None, claim.want, wishes)
        assert self.runner().run_one(Lane(AGGREGATE))
        assert self.runner().run_one(Lane(BUILD))

    def sent_from_now_on(self) -> list[int]:
        """Return the generations that go out to ``pacs``, however long one waits."""
        sent: list[int] = []

        def deliver(claim: Claim) -> DeliveryOutcome:
            sent.append(claim.want)
            return Delivered("0000")

        self.does[DELIVER] = deliver
        for _ in range(3):
            self.clock.advance(1_000)
            self.runner().run_one(PACS)
        return sent
