"""What is written of one object beside its row: a copy in quarantine, a file restored.

It is rare, and still must not be done by the thread of an association: a commit may hang where a
standby is lost, and nothing on this side ends it. So one thread hangs on it, and whoever waits for
it answers its peer after a while, as with rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from intu_fhir.db.session import Connection, Database
from intu_fhir.stage.commit import GroupCommit

Aside: TypeAlias = Callable[[Connection], Any]
"""What is done in a transaction of its own; its result is given to who waits for it."""


@dataclass(frozen=True)
class _Transactions:
    database: Database

    def __call__(self, items: Sequence[Aside], before_commit: Callable[[], None]) -> list[Any]:
        with self.database.write() as connection:
            results = [do(connection) for do in items]
            before_commit()
        return results


def asides(database: Database, wait_seconds: float) -> GroupCommit[Aside, Any]:
    """Return what does such things one after the other: two could wait for each other's rows.

    Args:
        wait_seconds: how long each is waited for.
    """
    return GroupCommit(_Transactions(database), wait_seconds=wait_seconds, max_batch=1)
