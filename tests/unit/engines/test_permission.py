"""The engine of threads asks whether it may work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from intu_fhir.db.session import Database
from intu_fhir.engines.local import Chore, LocalEngine
from intu_fhir.pipeline.record import Recorder
from intu_fhir.pipeline.runner import Runner
from intu_fhir.settings.schema import RetrySettings
from tests.support.clock import FakeClock
from tests.support.databases import sqlite_url
from tests.support.waiting import wait_until


@dataclass
class Permission:
    """Says yes or no, and who was told."""

    may: bool = False
    asked: int = 0
    done: list[str] = field(default_factory=list)

    def __call__(self) -> bool:
        """Answer."""
        self.asked += 1
        return self.may

    def chore(self, name: str) -> Chore:
        """Return work that notes that it was done."""
        return Chore(name, self._doing(name), then="")

    def _doing(self, name: str) -> Callable[[], int]:
        def do_some() -> int:
            self.done.append(name)
            return 0

        return do_some


def test_nothing_is_begun_without_permission(tmp_path: Path) -> None:
    """While the answer is no, a worker that is woken asks again and does nothing else."""
    permission, retry = Permission(), RetrySettings()
    with closing(Database(sqlite_url(tmp_path / "no.db"))) as database:
        runner = Runner(database, FakeClock(), {}, Recorder(retry), retry, "w", 60)
        engine = LocalEngine(runner, [], [permission.chore("prune")], permission)
        engine.start()
        for times in range(1, 6):
            wait_until(lambda times=times: permission.asked >= times)
            engine.wake("prune")
        assert permission.done == []
        permission.may = True
        wait_until(lambda: permission.done)
        assert engine.stop(10) == []
