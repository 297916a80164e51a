"""What a worker that froze, or was cut off, leaves in PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.session import Database
from intu_fhir.db.trouble import ABANDONED_SECONDS
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.work import DELIVER, Claim
from tests.support.clock import START
from tests.support.seeded import stage

_SET = "SET LOCAL idle_in_transaction_session_timeout = '200ms'"


@pytest.fixture
def database_kind() -> str:
    """SQLite has no server that could end anything."""
    return "postgresql"


def _claim(connection: sa.Connection) -> Claim | None:
    return work.claim(connection, DELIVER, "ehr", holder="w", now=_LATER, lease_seconds=60, limit=1)


_LATER = START.replace(hour=13)


@contextmanager
def _frozen_while_claiming(database: Database) -> Iterator[list[str]]:
    """Let another worker stand still in the transaction in which it claims."""
    holds, goes_on, said = threading.Event(), threading.Event(), list[str]()

    def freeze() -> None:
        try:
            with database.write() as connection:
                _claim(connection)
                connection.execute(sa.text(_SET))  # last: a busy machine may pause in between
                holds.set()
                goes_on.wait(20)
                connection.execute(sa.text("SELECT 1"))
        except StoreUnavailable as error:
            said.append(str(error))

    frozen = threading.Thread(target=freeze)
    frozen.start()
    assert holds.wait(20)
    yield said
    goes_on.set()
    frozen.join()


def test_a_worker_that_freezes_while_it_claims_blocks_nobody(database: Database) -> None:
    """Its transaction is ended, what it had claimed is free, and it learns that."""
    with database.write() as connection:
        stage(connection, "one", deliveries={"ehr": "waiting"})
    with _frozen_while_claiming(database) as said:
        begun = time.monotonic()
        with database.write() as connection:
            assert _claim(connection) is not None
        assert time.monotonic() - begun < 5
    assert "stood still" in said[0]


def test_every_connection_has_the_limit_but_a_snapshot(database: Database) -> None:
    """What writes is ended when it stands still; an export may wait for who reads it."""
    show = sa.text("SHOW idle_in_transaction_session_timeout")
    with database.write() as connection:
        assert connection.execute(show).scalar_one() == f"{ABANDONED_SECONDS}s"
    with database.snapshot() as connection:
        assert connection.execute(show).scalar_one() == "0"
